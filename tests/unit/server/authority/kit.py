"""What tests of authorities share: a generation's parts, and what the log said of it."""

from datetime import timedelta

from ca.authority import Authority, AuthorityKind, AuthorityState
from sds.audit.event import AuditEvent, Target
from sds.server.authority.authorities import Authorities
from sds.server.events import Events, system_actor
from sds.store.records import AgentRecord
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.fakes.clock import EPOCH
from tests.fakes.rotation import ASKED
from tests.fakes.slots import holder

X509, JWT = AuthorityKind.X509, AuthorityKind.JWT
PREPARED, ACTIVE, OLD = AuthorityState.PREPARED, AuthorityState.ACTIVE, AuthorityState.OLD
DAY = timedelta(days=1)


async def log(store: Store, prefix: str = "authority.") -> list[AuditEvent]:
    found = [stored.event for stored in await store.read(lambda uow: uow.audit.tail(None))]
    return [event for event in found if event.action.startswith(prefix)]


async def states(store: Store, kind: AuthorityKind = X509) -> list[AuthorityState]:
    return [one.state for one in await store.read(lambda uow: uow.authorities.all(kind))]


async def straggle(store: Store, events: Events, *, sequence: int) -> None:
    """An agent that says which bundle it has."""
    agent = holder("n1", sequence).agent_id

    def work(uow: UnitOfWork) -> None:
        uow.agents.upsert(AgentRecord(agent, "join_token", frozenset(), "01", EPOCH + 999 * DAY, "00", EPOCH))
        uow.agents.verifies_by(agent, sequence)
        uow.audit.append(events.make(uow.now, "agent.attest", system_actor(), Target("agent", str(agent))))

    await store.write(work)


async def prepared(authorities: Authorities, kind: AuthorityKind = X509) -> Authority:
    return await authorities.prepare(kind, ASKED)

"""Test messages: to whom the configuration names, to others by unlimited administrators, and not many."""

from __future__ import annotations

import pytest

from attestation.spiffe_id import SpiffeId
from sds.admin.access.roles import Right, Role, Scope
from sds.admin.errors import Forbidden, InvalidInput, TooManyRequests
from sds.admin.services import AdminCall, local_caller
from sds.notices.recipients import Recipients
from sds.server.events import Events
from sds.server.notices.outgoing import SendFailed
from sds.server.notices.service import NoticeService
from sds.server.services.common import Desk
from sds.store.store import Store
from tests.fakes.clock import FakeClock

OPS = "ops@example.org"
BELOW = Scope(SpiffeId.parse("spiffe://example.org/a"))


class Engine:
    """Sends nothing; `problem` is what goes wrong."""

    def __init__(self) -> None:
        self.recipients = Recipients((OPS,), {"pay": ("pay@example.org",)}, frozenset({"example.org"}), webhook=True)
        self.sent: list[str] = []
        self.problem = ""

    async def test(self, recipient: str) -> None:
        if self.problem:
            raise SendFailed(self.problem)
        self.sent.append(recipient)


async def _settled(_: float) -> bool:
    return True


def call(*rights: Right) -> AdminCall:
    return AdminCall(local_caller(7, 42, "somebody"), "r1", rights)


OPERATOR = call(Right(Role.OPERATOR))


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def service(sqlite_store: Store, clock: FakeClock, engine: Engine) -> NoticeService:
    return NoticeService(Desk(sqlite_store, Events("test"), _settled), engine, clock)  # type: ignore[arg-type]


async def test_who_is_named_may_be_written_to(service: NoticeService, engine: Engine, sqlite_store: Store) -> None:
    for recipient in (OPS, "pay@example.org", "webhook"):
        assert (await service.test(OPERATOR, recipient)).problem == ""
    assert engine.sent == [OPS, "pay@example.org", "webhook"]
    events = [one.event for one in await sqlite_store.read(lambda unit: unit.audit.tail(None, 10))]
    assert (events[0].action, events[0].actor.id, events[0].target.id) == ("notice.send", "uid:7", OPS)


@pytest.mark.parametrize("rights", [Right(Role.OPERATOR), Right(Role.ADMIN, BELOW)])
async def test_who_is_not_named_only_by_a_whole_admin(service: NoticeService, engine: Engine, rights: Right) -> None:
    """Not even an address of a domain that owners may have."""
    for recipient in ("x@evil.example", "other@example.org"):
        with pytest.raises(Forbidden):
            await service.test(call(rights), recipient)
    assert engine.sent == []
    await service.test(call(Right(Role.ADMIN)), "x@evil.example")
    assert engine.sent == ["x@evil.example"]


@pytest.mark.parametrize("recipient", ["", "ops", "a@x.org\r\nBcc: b@x.org", "a@x.org,b@x.org", "<a@x.org>"])
async def test_what_is_no_address_is_refused_to_everybody(service: NoticeService, recipient: str) -> None:
    with pytest.raises(InvalidInput):
        await service.test(call(Right(Role.ADMIN)), recipient)


async def test_there_are_not_many(service: NoticeService, engine: Engine, clock: FakeClock) -> None:
    for _ in range(3):
        await service.test(OPERATOR, OPS)
    with pytest.raises(TooManyRequests):
        await service.test(OPERATOR, OPS)
    clock.advance(10)
    await service.test(OPERATOR, OPS)
    assert len(engine.sent) == 4


async def test_what_goes_wrong_is_told_and_audited(service: NoticeService, engine: Engine, sqlite_store: Store) -> None:
    engine.problem = "550 no such user"
    assert (await service.test(OPERATOR, OPS)).problem == "550 no such user"
    (one,) = await sqlite_store.read(lambda unit: unit.audit.tail(None, 10))
    assert (one.event.action, one.event.reason) == ("notice.fail", "550 no such user")

"""Tokens for administrators: within policy, audited under who asked, against nobody who was revoked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.errors import AuthorityUnavailable, InvalidJwtSvid, IssuanceRefused
from ca.jwt_svid import JwtIssuer, JwtPolicy
from ca.revocation import Reason as Why
from sds.admin.errors import InvalidInput
from sds.admin.services import AdminCall, MintOrder, local_caller
from sds.audit.event import AuditEvent, Target
from sds.server.events import Events, system_actor
from sds.server.jwt.mint import JwtService
from sds.store.errors import NotFound, StoreUnavailable
from sds.store.revocation.records import BlockKind, BlockRecord
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.fakes.authorities import alter, install
from tests.fakes.ca import TRUST_DOMAIN
from tests.fakes.clock import EPOCH, FakeClock
from tests.fakes.jwt import bundles_of, counted_ids, issue_jwt, make_jwt_authority
from tests.unit.server.jwt.test_signing import AUTHORITY, Key, Writes

CALL = AdminCall(local_caller(1000, 77, "alice"), "request-1")
WEB = SpiffeId(TRUST_DOMAIN, "/web")
FOREIGN = make_jwt_authority(TrustDomain("example.com"))


class Office:
    def __init__(self, store: Store, events: Events, clock: FakeClock) -> None:
        self.key = Key()
        self.store = Writes(store)
        self.events = events
        self.clock = clock
        self.counts: list[tuple[str, str]] = []
        policy = JwtPolicy()
        bundles = bundles_of(AUTHORITY, FOREIGN)
        self.service = JwtService(
            self.store,  # type: ignore[arg-type]
            TRUST_DOMAIN,
            JwtIssuer(policy, counted_ids()),
            policy,
            self.key,
            events,
            clock,
            self,
            lambda: bundles,
            timedelta(0),
        )

    def issued(self, profile: str, outcome: str) -> None:
        self.counts.append((profile, outcome))

    async def log(self) -> list[AuditEvent]:
        stored = await self.store.inner.read(lambda uow: uow.audit.tail(None))
        return [one.event for one in stored if one.event.action == "token.issue"]

    async def change(self, work: Callable[[UnitOfWork], Any]) -> Any:
        def audited(uow: UnitOfWork) -> Any:
            uow.audit.append(self.events.make(uow.now, "test.change", system_actor(), Target("test", "1")))
            return work(uow)

        return await self.store.inner.write(audited)

    async def entry(self, entry_id: str = "e1", **spec: Any) -> RegistrationEntry:
        made = EntrySpec(WEB, SpiffeId(TRUST_DOMAIN, "/sds/agent/a"), frozenset({Selector("unix", "uid:1")}), **spec)
        entry: RegistrationEntry = await self.change(lambda uow: uow.entries.create(made, entry_id))
        return entry

    async def block(self, kind: BlockKind, value: str) -> None:
        record = BlockRecord("b1", kind, value, Why.KEY_COMPROMISE, "", self.clock.now(), "alice")
        await self.change(lambda uow: uow.blocks.add(record))


@pytest.fixture
async def office(store: Store, events: Events, clock: FakeClock) -> AsyncIterator[Office]:
    await install(store, events, AUTHORITY.authority)
    yield Office(store, events, clock)


def order(**changes: Any) -> MintOrder:
    return replace(MintOrder(("reports",), spiffe_id=WEB), **changes)


async def test_by_spiffe_id(office: Office) -> None:
    minted = await office.service.mint(CALL, order(ttl=timedelta(minutes=2)))
    svid = await office.service.verify(minted.token.reveal(), "reports")
    assert (svid.spiffe_id, svid.expires_at) == (WEB, EPOCH + timedelta(minutes=2))
    (event,) = await office.log()
    assert (event.actor.id, event.request_id, event.target.id) == ("uid:1000", "request-1", minted.token_id)
    assert event.details["user"] == "alice"
    assert "entry_id" not in event.details
    assert minted.token.reveal() not in repr((event, minted))
    assert office.counts == [("jwt", "success")]


async def test_by_entry(office: Office) -> None:
    await office.entry(jwt_svid_ttl=timedelta(minutes=9))
    minted = await office.service.mint(CALL, order(spiffe_id=None, entry_id="e1"))
    assert (minted.spiffe_id, minted.expires_at) == (WEB, EPOCH + timedelta(minutes=9))
    (event,) = await office.log()
    assert (event.details["entry_id"], event.details["entry_revision"]) == ("e1", 1)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"audience": ()}, ["audience"]),
        ({"audience": ("a\n",)}, ["audience"]),
        ({"ttl": timedelta(seconds=1)}, ["ttl_seconds"]),
        ({"ttl": timedelta(hours=2)}, ["ttl_seconds"]),
        ({"spiffe_id": SpiffeId(TRUST_DOMAIN, "/sds/agent/a")}, ["spiffe_id"]),
        ({"spiffe_id": SpiffeId(TRUST_DOMAIN, "")}, ["spiffe_id"]),
        ({"spiffe_id": SpiffeId(TrustDomain("example.com"), "/web")}, ["spiffe_id"]),
        ({"spiffe_id": None}, ["spiffe_id"]),
        ({"audience": ("",), "ttl": timedelta(0)}, ["audience", "ttl_seconds"]),
    ],
)
async def test_beyond_policy(office: Office, changes: dict[str, Any], fields: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        await office.service.mint(CALL, order(**changes))
    assert [problem.field for problem in caught.value.problems] == fields
    assert office.key.signatures == 0


async def test_an_entry_that_is_not_there_or_has_expired(office: Office) -> None:
    with pytest.raises(NotFound):
        await office.service.mint(CALL, order(spiffe_id=None, entry_id="e1"))
    await office.entry(expires_at=EPOCH)
    with pytest.raises(InvalidInput, match="expired"):
        await office.service.mint(CALL, order(spiffe_id=None, entry_id="e1"))


@pytest.mark.parametrize(
    ("kind", "value", "by_entry", "by_id"),
    [
        (BlockKind.ENTRY, "e1", False, True),
        (BlockKind.SPIFFE_ID, str(WEB), False, False),
        (BlockKind.SPIFFE_ID, "spiffe://example.org/other", True, True),
    ],
)
async def test_what_was_revoked_gets_no_token(
    office: Office, kind: BlockKind, value: str, by_entry: bool, by_id: bool
) -> None:
    await office.entry()
    await office.block(kind, value)
    for asked, allowed in ((order(spiffe_id=None, entry_id="e1"), by_entry), (order(), by_id)):
        if allowed:
            await office.service.mint(CALL, asked)
        else:
            with pytest.raises(IssuanceRefused, match="revoked"):
                await office.service.mint(CALL, asked)
    assert office.key.signatures == by_entry + by_id == len(await office.log())


async def test_a_tainted_authority_signs_nothing(office: Office) -> None:
    await alter(office.store.inner, office.events, AUTHORITY.authority, replace(AUTHORITY.authority, tainted=True))
    with pytest.raises(AuthorityUnavailable):
        await office.service.mint(CALL, order())
    assert (office.key.signatures, await office.log()) == (0, [])


async def test_if_it_cannot_be_audited_nothing_is_signed(office: Office) -> None:
    office.store.fail_in = 1
    with pytest.raises(StoreUnavailable):
        await office.service.mint(CALL, order())
    assert office.key.signatures == 0


async def test_an_unplugged_key_leaves_a_trace(office: Office) -> None:
    office.key.unplugged = True
    with pytest.raises(AuthorityUnavailable, match="unplugged"):
        await office.service.mint(CALL, order())
    assert [str(event.outcome) for event in await office.log()] == ["success", "failure"]
    assert office.counts == [("jwt", "failure")]
    office.store.fail_in = 2
    with pytest.raises(AuthorityUnavailable, match="unplugged"):
        await office.service.mint(CALL, order())


async def test_tokens_of_federated_domains_are_validated_too(office: Office) -> None:
    token = issue_jwt(FOREIGN, "spiffe://example.com/web").token.reveal()
    assert str((await office.service.verify(token, "reports")).spiffe_id) == "spiffe://example.com/web"
    with pytest.raises(InvalidJwtSvid):
        await office.service.verify(token, "other")
    office.clock.advance(301)
    with pytest.raises(InvalidJwtSvid, match="expired"):
        await office.service.verify(token, "reports")

"""Keeps the authorised state true: follows the change feed, reads again what it names, ends what has expired."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import timedelta
from itertools import compress
from types import MappingProxyType
from typing import TypeVar

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.bundle import JwtKey, TrustBundle
from ca.errors import CaError
from ca.upstreams import nested
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.downstream.lists import issuers_below
from sds.server.facts import Facts, Refresh, Touched
from sds.server.registry import Registry
from sds.server.revocation.blocked import Blocked, names_of
from sds.server.transactions import Transactions
from sds.store.change_records import Change, ChangeBatch
from sds.store.errors import FeedTruncated, NotFound, Reason, StoreError, StoreUnavailable
from sds.store.records import AgentRecord, ChangeKind
from sds.store.revocation.records import BlockRecord
from sds.store.unit_of_work import UnitOfWork

T = TypeVar("T")
Take = Callable[[], None]
Reread = Callable[[UnitOfWork, Collection[str] | None], Take]
"""Reads, in a transaction, what these keys name, or everything (None). The answer, called on the event loop, takes it
over."""

_RETRY = 0.2  # seconds
HISTORY = 100_000
"""Past changes read at start, so that agents can resume across a restart of the server."""
_EXPIRY_TICK = timedelta(seconds=1)
"""The longest that an expiry waits when the wall clock jumps."""


class Bundles:
    """Makes the trust bundle of the authorities that stand."""

    def __init__(self, trust_domain: TrustDomain, refresh_hint: timedelta) -> None:
        self._trust_domain = trust_domain
        self._refresh_hint = refresh_hint

    def build(self, uow: UnitOfWork) -> TrustBundle:
        crls = {} if issuers_below(uow) else {one.authority_id: one.der for one in uow.crls.all().values()}
        return self.of(uow.authorities.all(), uow.authorities.bundle_sequence, crls)

    def of(
        self, authorities: tuple[Authority, ...], sequence: int, crls: Mapping[str, bytes] = MappingProxyType({})
    ) -> TrustBundle:
        """Every authority that is not revoked, with its CRL.

        Verifiers that have one CRL refuse what all other issuers issued: there are CRLs of all that issue, or none.
        So there are none where other servers issue below the same roots.
        One that has expired stays until rotation drops it: what a sequence stands for must not depend on when, and by
        whose clock, it was put together.
        """
        published = [one for one in authorities if not one.revoked]
        certificates = dict.fromkeys(der for one in published for der in one.bundle_certificates)
        return TrustBundle(
            self._trust_domain,
            tuple(certificates),
            sequence,
            self._refresh_hint,
            jwt_keys=tuple(
                JwtKey(one.id, one.public_key, one.not_after) for one in published if one.kind is AuthorityKind.JWT
            ),
            crls=_crls(published, crls),
            tainted=frozenset(one.id for one in published if one.tainted),
        )


def _crls(published: Sequence[Authority], crls: Mapping[str, bytes]) -> tuple[bytes, ...]:
    issuers = [one for one in published if one.kind is AuthorityKind.X509]
    if any(one.upstream == nested.NAME for one in issuers):
        return ()
    missing = [one.id for one in issuers if one.id not in crls]
    if any(one.id in missing and one.state is not AuthorityState.PREPARED for one in issuers):
        return ()
    return tuple(crls[one.id] for one in issuers if one.id not in missing)


async def load_facts(store: Transactions, bundles: Bundles) -> Facts:
    """The whole truth in one snapshot, with the history that watches resume from. Raises StoreError."""

    def load(uow: UnitOfWork) -> Facts:
        state = uow.changes.state()
        floor = max(state.oldest, state.newest - HISTORY)
        entries = uow.entries.all()
        return Facts(
            epoch=state.epoch,
            revision=state.newest,
            entries=entries,
            agents=uow.agents.all(),
            bundle=bundles.build(uow),
            blocked=Blocked.load(uow),
            federated={one.trust_domain: one.bundle for one in uow.federations.all() if one.bundle is not None},
            history=list(_history(uow, floor, entries)),
            history_floor=floor,
        )

    return await store.read(load)


def _history(uow: UnitOfWork, place: int, entries: Sequence[RegistrationEntry]) -> Iterator[Touched]:
    """Every change of an entry after `place`; a block or its lifting is one of all entries that it names."""
    blocks: Mapping[str, BlockRecord] | None = None
    while batch := uow.changes.since(place).changes:
        for change in batch:
            if change.kind is ChangeKind.ENTRY:
                yield Touched(change.seq, SpiffeId.parse(change.parent), change.key)
            elif change.kind is ChangeKind.BLOCK:
                blocks = blocks or {block.id: block for block in uow.blocks.all()}
                block = blocks.get(change.key)
                if block is not None:
                    named = ((block.kind, block.value) in names_of(entry) for entry in entries)
                    yield from (Touched(change.seq, entry.parent_id, entry.id) for entry in compress(entries, named))
        place = batch[-1].seq


class Follower:
    """Runs beside the listeners for as long as the server serves."""

    def __init__(self, store: Transactions, registry: Registry, bundles: Bundles, clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._bundles = bundles
        self._clock = clock
        self._applied = asyncio.Condition()
        self._on_authorities: list[Callable[[], Awaitable[None]]] = []
        self._mirrors: list[tuple[ChangeKind, Reread]] = []
        self._log = get_logger(__name__)

    def on_authorities(self, listener: Callable[[], Awaitable[None]]) -> None:
        """Call `listener` when authorities have changed; it may raise CaError and StoreError, which are logged."""
        self._on_authorities.append(listener)

    async def mirror(self, kind: ChangeKind, reread: Reread) -> None:
        """Keep more of what the database holds in memory, from now on: all of it, then what changes.

        Before `run`. Raises StoreError.
        """
        take = await self._store.read(lambda uow: reread(uow, None))
        take()
        self._mirrors.append((kind, reread))

    async def run(self) -> None:
        """Until the store is closed or this is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            expiring = tasks.create_task(self._expire())
            with suppress(StoreUnavailable):  # only when the store is closed
                await self._follow()
            expiring.cancel()

    async def caught_up(self, seconds: float) -> bool:
        """Wait until everything committed before this call is in the registry; False if that takes too long.

        After a change by this process it makes the answer mean "and agents are being told".
        """
        try:
            async with asyncio.timeout(seconds):
                newest = (await self._store.feed().state()).newest
                async with self._applied:
                    await self._applied.wait_for(lambda: self._registry.revision >= newest)
        except (TimeoutError, StoreUnavailable):
            return False
        return True

    async def _follow(self) -> None:
        while True:
            try:
                async with aclosing(self._store.feed().follow(self._registry.revision, self._registry.epoch)) as feed:
                    async for batch in feed:
                        await self._take_in(batch)
            except FeedTruncated as gap:
                self._log.warning("the change feed cannot be resumed; loading everything again", reason=str(gap))
                facts = await self._patiently(lambda: load_facts(self._store, self._bundles))
                taken = await self._patiently(lambda: self._store.read(self._reload_mirrors))
                self._registry.reload(facts, now=self._clock.now())
                for take in taken:
                    take()
                await self._announce(authorities=True)

    async def _take_in(self, batch: ChangeBatch) -> None:
        refresh, taken = await self._patiently(lambda: self._store.read(lambda uow: self._reread(uow, batch)))
        self._registry.apply(refresh, now=self._clock.now())
        for take in taken:
            take()
        await self._announce(authorities=refresh.bundle is not None)

    def _reload_mirrors(self, uow: UnitOfWork) -> list[Take]:
        return [reread(uow, None) for _, reread in self._mirrors]

    def _reread(self, uow: UnitOfWork, batch: ChangeBatch) -> tuple[Refresh, list[Take]]:
        named = _by_kind(batch.changes)
        refresh = Refresh(
            revision=batch.last,
            entries={key: _entry(uow, key) for key in named[ChangeKind.ENTRY]},
            agents={agent: _agent(uow, agent) for agent in map(SpiffeId.parse, named[ChangeKind.AGENT])},
            bundle=(self._bundles.build(uow) if named[ChangeKind.BUNDLE] or named[ChangeKind.AUTHORITY] else None),
            blocked=Blocked.load(uow) if named[ChangeKind.BLOCK] else None,
            federated={domain: _federated(uow, domain) for domain in map(TrustDomain, named[ChangeKind.FEDERATION])},
        )
        return refresh, [reread(uow, tuple(named[kind])) for kind, reread in self._mirrors if named[kind]]

    async def _announce(self, *, authorities: bool) -> None:
        async with self._applied:
            self._applied.notify_all()
        if authorities:
            for listener in self._on_authorities:
                try:
                    await listener()
                except (CaError, StoreError) as error:
                    self._log.error("changed authorities could not be taken in", reason=str(error))

    async def _patiently(self, read: Callable[[], Awaitable[T]]) -> T:
        """Try until the database answers. Raises StoreUnavailable once the store is closed."""
        while True:
            try:
                return await read()
            except StoreUnavailable as error:
                if error.reason is Reason.CLOSED:
                    raise
                await asyncio.sleep(_RETRY * (0.5 + self._clock.jitter()))

    async def _expire(self) -> None:
        while True:
            self._registry.expire(self._clock.now())
            following = self._registry.next_expiry
            pause = _EXPIRY_TICK if following is None else min(following - self._clock.now(), _EXPIRY_TICK)
            await asyncio.sleep(max(pause.total_seconds(), 0.005))


def _by_kind(changes: tuple[Change, ...]) -> Mapping[ChangeKind, dict[str, None]]:
    """The names that must be read again, each once, in order."""
    named: dict[ChangeKind, dict[str, None]] = {kind: {} for kind in ChangeKind}
    for change in changes:
        named[change.kind][change.key] = None
    return named


def _entry(uow: UnitOfWork, entry_id: str) -> RegistrationEntry | None:
    try:
        return uow.entries.get(entry_id)
    except NotFound:
        return None


def _agent(uow: UnitOfWork, agent_id: SpiffeId) -> AgentRecord | None:
    try:
        return uow.agents.get(agent_id)
    except NotFound:
        return None


def _federated(uow: UnitOfWork, trust_domain: TrustDomain) -> TrustBundle | None:
    found = uow.federations.find(trust_domain)
    return None if found is None else found.bundle

"""Server processes, as far as rotation goes, over one database and one custody of keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.errors import AuthorityUnavailable
from ca.rotation import KindPolicy, RotationPolicy
from sds.rotation.acts import Acts
from sds.rotation.executor import Executor
from sds.rotation.orders import Orders
from sds.rotation.ports import Rules
from sds.rotation.steps import Call, Steps
from sds.server.events import Events, system_actor
from sds.store.store import Store, open_store
from tests.contract.conftest import QUICK
from tests.fakes.clock import FakeClock
from tests.fakes.rotation import Watching
from tests.fakes.slots import slot

X509, JWT = AuthorityKind.X509, AuthorityKind.JWT
PREPARED, ACTIVE, OLD = AuthorityState.PREPARED, AuthorityState.ACTIVE, AuthorityState.OLD
MINUTE = timedelta(minutes=1)
LIFE, LEAF = 100 * MINUTE, 10 * MINUTE
POLICY = RotationPolicy(
    x509=KindPolicy(lead=LEAF, longest=LEAF),
    jwt=KindPolicy(lead=LEAF, longest=LEAF, wait=6 * MINUTE),
    patience=5 * MINUTE,
    leeway=MINUTE,
)
EVENTS = Events("test-host")
RULES = Rules(POLICY, timedelta(0), Call(system_actor(), ""))


class QuickMaker:
    """Implements sds.rotation.ports.Maker; `keys` are those in custody, shared by all replicas."""

    def __init__(self, clock: FakeClock, keys: set[str], numbers: Iterator[int]) -> None:
        self.clock, self.keys, self._numbers = clock, keys, numbers
        self.away = False

    async def make(self, kind: AuthorityKind) -> Authority:
        await asyncio.sleep(0)  # others may go on meanwhile
        self._answer()
        made = slot(f"{kind}-{next(self._numbers):04}", PREPARED, kind=kind, since=self.clock.now(), life=LIFE)
        self.keys.add(made.key_ref)
        return made

    async def first_crl(self, made: Authority) -> None:
        del made

    async def check(self, authority: Authority) -> None:
        self._answer()
        assert authority.key_ref in self.keys

    async def cross_sign(self, new: Authority, old: Authority) -> tuple[bytes, ...]:
        raise AssertionError("not asked for here")

    async def forget(self, authority: Authority) -> None:
        self.keys.discard(authority.key_ref)

    def _answer(self) -> None:
        if self.away:
            raise AuthorityUnavailable("the key manager is away")


class Replica:
    """A server process, as far as rotation goes."""

    def __init__(self, url: str, keys: set[str], numbers: Iterator[int]) -> None:
        self.clock = FakeClock()
        self.url = url
        self.maker = QuickMaker(self.clock, keys, numbers)
        self.start()

    def start(self) -> None:
        self.store: Store = open_store(self.url, clock=self.clock, limits=QUICK)
        acts = Acts(self.store, self.maker, Steps(EVENTS), RULES, Watching())
        self.executor, self.orders = Executor(acts, Watching()), Orders(acts)

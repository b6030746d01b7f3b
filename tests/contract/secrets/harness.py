"""What the suite of sources needs of each one: a way to play its other side.

To add a backend, write a subclass of `Harness` in a module of its own beside this one (`embedded.py` shows how), say in
`abilities` what its source can do, and name it in `table.HARNESSES`. A test says which abilities it needs,
``@needs(Ability.VERSIONS)``, and is made for the backends that have them: none is skipped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, ClassVar, Self, TypeVar

import pytest

from attestation.spiffe_id import SpiffeId
from sds.secrets.backend import Fetched, SecretBackend
from sds.secrets.secret import Secret, SecretKind
from sds.store.store import Store
from tests.fakes.clock import FakeClock

Test = TypeVar("Test", bound=Callable[..., Any])
CANARY = b"canary-4c0ffee"
"""Part of every value that a harness can choose itself; of those that the source makes, `Harness.secrets_in` tells."""
WEB = SpiffeId.parse("spiffe://example.org/web")
DB = SpiffeId.parse("spiffe://example.org/db")


class Ability(Enum):
    """What the source of a backend can do, or what can be done to it."""

    PUT = auto()
    """A test chooses the value (`put`)."""
    CHANGE = auto()
    """The value becomes another one at the source (`change`)."""
    EMPTY = auto()
    """The source can hold nothing (a fresh definition), and what it holds can be deleted (`delete`)."""
    SPOIL = auto()
    """The source can hold what is not fit to be sent (`spoil`)."""
    DENY = auto()
    """The source can refuse us (`deny`, `allow`)."""
    CUT = auto()
    """The source can be out of reach (`cut`, `mend`)."""
    VERSIONS = auto()
    """The source keeps earlier versions, which can be pinned and destroyed (`destroy`)."""
    RECEIVERS = auto()
    """Each receiver has a value of its own (`per_identity`)."""
    SHARED = auto()
    """One value serves all."""


def needs(*abilities: Ability) -> Callable[[Test], Test]:
    """Run the test for the backends alone that can do all of these."""

    def mark(test: Test) -> Test:
        test.needs = frozenset(abilities)  # type: ignore[attr-defined]
        return test

    return mark


@dataclass(frozen=True, slots=True)
class World:
    """What every harness is handed. `request` gets further fixtures, that are not coroutines, by name."""

    store: Store
    clock: FakeClock
    request: pytest.FixtureRequest


class Harness(ABC):
    """One backend under test and the other side of its source."""

    name: ClassVar[str]
    abilities: ClassVar[frozenset[Ability]]
    kind: ClassVar[SecretKind]
    backend: SecretBackend

    @classmethod
    @abstractmethod
    def open(cls, world: World) -> AbstractAsyncContextManager[Self]:
        """A backend over an empty source."""

    @abstractmethod
    async def define(self, name: str = "s") -> Secret:
        """A stored definition of `kind`; its source holds something at once only where it cannot hold nothing."""

    async def put(self, secret: Secret, fields: Mapping[str, bytes]) -> None:
        """PUT: exactly these fields are the value from now on."""
        raise NotImplementedError

    async def fill(self, secret: Secret) -> None:
        """The source holds some value from now on. Where it cannot be chosen, there is one already."""
        if Ability.PUT in self.abilities:
            await self.put(secret, {"": CANARY})

    async def change(self, secret: Secret) -> None:
        """CHANGE: the value becomes another one; after this `fetch` must not give the former."""
        await self.put(secret, {"": CANARY + b"-changed"})

    async def delete(self, secret: Secret) -> None:
        """EMPTY: nothing is there any more."""
        raise NotImplementedError

    async def spoil(self, secret: Secret) -> None:
        """SPOIL: the source holds what its kind forbids."""
        raise NotImplementedError

    async def destroy(self, secret: Secret, version: str) -> None:
        """VERSIONS: its value is gone for good."""
        raise NotImplementedError

    async def deny(self, secret: Secret) -> None:
        """DENY: we may not read this one any more."""
        raise NotImplementedError

    async def allow(self, secret: Secret) -> None:
        """DENY: we may again."""
        raise NotImplementedError

    async def cut(self) -> None:
        """CUT: the source does not answer."""
        raise NotImplementedError

    async def mend(self) -> None:
        """CUT: it answers again."""
        raise NotImplementedError

    def receiver(self) -> SpiffeId | None:
        """Whom the suite fetches for where it does not matter."""
        return WEB if Ability.RECEIVERS in self.abilities else None

    def secrets_in(self, fetched: Fetched) -> list[bytes]:
        """The bytes of a value that must be seen nowhere."""
        return [value.reveal() for value in fetched.fields.values()]

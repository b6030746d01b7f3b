"""What rotation needs of others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

from ca.authority import Authority, AuthorityKind
from ca.rotation import RotationPolicy
from sds.rotation.steps import Call
from sds.store.revocation.records import CrlRecord
from sds.store.unit_of_work import UnitOfWork

T = TypeVar("T")


class Store(Protocol):
    """The part of sds.store.store.Store that is used here."""

    async def write(self, work: Callable[[UnitOfWork], T]) -> T: ...

    async def read(self, work: Callable[[UnitOfWork], T]) -> T: ...


class Maker(Protocol):
    """Makes authorities, and has their keys. All but `forget` raise CaError."""

    async def make(self, kind: AuthorityKind) -> Authority:
        """A new PREPARED one whose key is in custody. It was tried out, and is not stored."""
        ...

    async def first_crl(self, made: Authority) -> CrlRecord | None:
        """The list that goes with it into the bundle where authorities have lists; None for one that issues tokens."""
        ...

    async def check(self, authority: Authority) -> None:
        """Whether its key is there and can sign now."""
        ...

    async def cross_sign(self, new: Authority, old: Authority) -> tuple[bytes, ...]:
        """What to send after the leaves of `new` for those who know only `old`, DER."""
        ...

    async def forget(self, authority: Authority) -> None:
        """Destroy its key. What goes wrong is logged and not raised."""
        ...


class RotationObserver(Protocol):
    """Counts steps and shows gates. `kind` is an AuthorityKind."""

    def rotation_step(self, kind: str, step: str, outcome: str) -> None:
        """`step`: prepare, activate, taint, revoke, drop. `outcome`: success, lost (to another replica) or failure."""
        ...

    def rotation_gate(self, kind: str, total: int, acked: int) -> None:
        """The gate of the prepared authority; zeros where there is none."""
        ...

    def rotation_problem(self, kind: str, present: bool) -> None:
        """Whether something is due that cannot be done."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """`settle`: see sds.rotation.fleet. `own`: whom the audit log names for what the schedule does."""

    policy: RotationPolicy
    settle: timedelta
    own: Call

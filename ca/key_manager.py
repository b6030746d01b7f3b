"""Where authority keys live: one Protocol for all custodians, and several of them behind one.

The custodians themselves are in `ca.key_managers`, their table in `ca.catalog`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from ca.errors import AuthorityUnavailable
from ca.keys import KeyType
from ca.signer import Signer


@dataclass(frozen=True, slots=True)
class ManagedKey:
    """A key in custody: `ref` finds it again (store it with the authority), `signer` uses it."""

    ref: str
    key_type: KeyType
    signer: Signer


class KeyManager(Protocol):
    """A custodian of authority keys, such as a wrapping store, a PKCS #11 token or a remote service."""

    @property
    def name(self) -> str:
        """The plugin's name; each reference starts with it and a colon."""
        ...

    async def generate(self, key_type: KeyType, purpose: str) -> ManagedKey:
        """Make a key for `purpose` (ca.authority.AuthorityKind), durable before this returns.

        Raises AuthorityUnavailable, also for a kind of key that the custodian does not make.
        """
        ...

    async def signer(self, ref: str) -> Signer:
        """The key behind a reference. Raises AuthorityUnavailable, or KeyUnwrapFailed."""
        ...

    async def forget(self, ref: str) -> None:
        """Destroy a key for good; one that is gone already is no error. Raises AuthorityUnavailable."""
        ...

    async def check(self, refs: Collection[str]) -> None:
        """Try whether these keys, all of this custodian, can be used now. Raises AuthorityUnavailable.

        What it finds is what `problem` says from then on, until the next use or check.
        """
        ...

    def problem(self, ref: str) -> str | None:
        """Why the key is known to be out of use, or None. Asks nobody, so that it may be asked before each use."""
        ...

    async def close(self) -> None:
        """Let go of what is open. Signers are of no use after that."""
        ...


def manager_of(ref: str) -> str:
    """The name of the key manager that made a reference."""
    return ref.partition(":")[0]


class KeyManagers:
    """Several custodians behind one: a new key is made by the chosen one, an older one is found by its reference.

    Implements KeyManager. An authority keeps the key that it was made with, so a move to another custodian is a
    rotation: both stay configured until the last authority of the former is gone.
    """

    def __init__(self, managers: Mapping[str, KeyManager], chosen: str) -> None:
        self._managers = dict(managers)
        self._chosen = self._managers[chosen]

    @property
    def name(self) -> str:
        """The custodian that makes new keys."""
        return self._chosen.name

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._managers)

    async def generate(self, key_type: KeyType, purpose: str) -> ManagedKey:
        return await self._chosen.generate(key_type, purpose)

    async def signer(self, ref: str) -> Signer:
        return await self._manager(ref).signer(ref)

    async def forget(self, ref: str) -> None:
        await self._manager(ref).forget(ref)

    async def check(self, refs: Collection[str]) -> None:
        """All custodians that `refs` name, and the one that makes new keys; raises what the first of them raises."""
        failures = await self.check_each(refs)
        for failure in failures.values():
            if failure is not None:
                raise failure

    async def check_each(self, refs: Collection[str]) -> dict[str, AuthorityUnavailable | None]:
        """What each custodian has to say about its part of `refs`, by its name; also of those not configured."""
        found: dict[str, AuthorityUnavailable | None] = {
            manager_of(ref): AuthorityUnavailable(_not_configured(ref))
            for ref in refs
            if manager_of(ref) not in self._managers
        }
        for name, manager in self._managers.items():
            try:
                await manager.check([ref for ref in refs if manager_of(ref) == name])
            except AuthorityUnavailable as error:
                found[name] = error
            else:
                found[name] = None
        return found

    def problem(self, ref: str) -> str | None:
        manager = self._managers.get(manager_of(ref))
        return _not_configured(ref) if manager is None else manager.problem(ref)

    async def close(self) -> None:
        for manager in self._managers.values():
            await manager.close()

    def _manager(self, ref: str) -> KeyManager:
        manager = self._managers.get(manager_of(ref))
        if manager is None:
            raise AuthorityUnavailable(_not_configured(ref))
        return manager


def _not_configured(ref: str) -> str:
    return (
        f"the authority's key is with key manager {manager_of(ref)!r}, which is not configured: configure it until "
        "the last authority whose key it holds is gone"
    )

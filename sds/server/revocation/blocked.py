"""What must not be issued any more, in memory and once more in the transaction that would make it durable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId
from ca.errors import IssuanceRefused
from ca.profile import ProfileName
from sds.store.revocation.records import BlockKind
from sds.store.unit_of_work import UnitOfWork

Name = tuple[BlockKind, str]


@dataclass(frozen=True, slots=True)
class Blocked:
    """All blocks that stand, and the serials of agents' and servers' own certificates that are revoked."""

    names: frozenset[Name] = frozenset()
    agent_serials: frozenset[str] = frozenset()
    server_serials: frozenset[str] = frozenset()

    @classmethod
    def load(cls, uow: UnitOfWork) -> Blocked:
        names = frozenset((block.kind, block.value) for block in uow.blocks.standing())
        agents, servers = map(uow.revocations.of_profile, (ProfileName.AGENT.value, ProfileName.SERVER.value))
        return cls(names, agents, servers)

    def entry(self, entry: RegistrationEntry) -> bool:
        """Whether nothing may be issued under this entry."""
        return bool(self.names) and not self.names.isdisjoint(names_of(entry))

    def key(self, key_hash: str) -> bool:
        return (BlockKind.KEY, key_hash) in self.names

    def changed(self, before: Blocked, entries: Iterable[RegistrationEntry]) -> list[RegistrationEntry]:
        """The entries that are blocked now and were not before, or the other way round."""
        difference = self.names ^ before.names
        if all(kind not in {BlockKind.ENTRY, BlockKind.SPIFFE_ID} for kind, _ in difference):
            return []
        return [entry for entry in entries if self.entry(entry) != before.entry(entry)]


NOTHING = Blocked()


def names_of(entry: RegistrationEntry) -> tuple[Name, Name]:
    """By what an entry may be blocked."""
    return (BlockKind.ENTRY, entry.id), (BlockKind.SPIFFE_ID, str(entry.spiffe_id))


def refuse_blocked(uow: UnitOfWork, spiffe_id: SpiffeId, key_hash: str) -> None:
    """For certificates that follow from no entry. Raises IssuanceRefused."""
    identity = str(spiffe_id)
    names = ((BlockKind.SPIFFE_ID, identity), (BlockKind.AGENT, identity), (BlockKind.KEY, key_hash))
    if uow.blocks.among(names):
        raise IssuanceRefused("this identity or this key was revoked; an administrator can lift that")

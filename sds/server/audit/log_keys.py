"""The key that signs the audit log's checkpoints: Ed25519, made once, wrapped like an authority's, shared by replicas.

Keys are numbered; the newest signs. Each but the first is vouched for by a note of the one before it, so that whoever
has one verifier key can trust those that come after it, and checkpoints of old keys are verified as ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from attestation.spiffe_id import TrustDomain
from ca.errors import CaError
from ca.key_manager import ManagedKey
from ca.keys import KeyType
from ca.signer import Signer
from sds.audit.checkpoint import next_key_text
from sds.audit.event import Actor, Json, Target
from sds.audit.note import InvalidNote, Sign, VerifierKey, parse_vkey, sign_note
from sds.logs import get_logger
from sds.server.events import Events, system_actor
from sds.server.transactions import Transactions
from sds.store.errors import ConstraintViolated
from sds.store.ledger.audit_keys import AuditKey
from sds.store.unit_of_work import UnitOfWork

PURPOSE = "audit"
"""Bound to the wrapped key: it opens as nothing else."""
_EPOCH_DIGITS = 8


class LedgerUnusable(Exception):
    """Events cannot come under a checkpoint now. They are still recorded."""


class LogKeyUnusable(LedgerUnusable):
    """The audit log's key does not open, or is not the one that verifiers know. Events are still recorded."""


class KeyKeeper(Protocol):
    """See ca.key_managers.wrapped.WrappedKeyManager."""

    async def generate(self, key_type: KeyType, purpose: str) -> ManagedKey: ...

    async def signer(self, ref: str) -> Signer: ...

    async def forget(self, ref: str) -> None: ...


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key that is open. `verifier.name` is the log's origin."""

    number: int
    verifier: VerifierKey
    sign: Sign


class LogKeys:
    """The keys of one log, in the database; the newest is open here."""

    def __init__(self, store: Transactions, keeper: KeyKeeper, events: Events, trust_domain: TrustDomain) -> None:
        self._store = store
        self._keeper = keeper
        self._events = events
        self._trust_domain = trust_domain
        self._current: LogKey | None = None

    async def current(self) -> LogKey:
        """The key that signs now, made if there never was one. Raises LogKeyUnusable, StoreError."""
        if self._current is None:
            known = await self.all()
            if known:
                self._current = await self._opened(known[-1])
            else:
                epoch = await self._store.read(lambda uow: uow.settings.epoch)
                origin = f"{self._trust_domain.name}/audit/{epoch[:_EPOCH_DIGITS]}"
                await self._make(1, origin, None, system_actor(), "")
                self._current = await self._opened((await self.all())[-1])
        return self._current

    async def all(self) -> tuple[AuditKey, ...]:
        """All keys that have ever signed, oldest first. Raises StoreError."""
        return await self._store.read(lambda uow: uow.audit_keys.all())

    def overtaken(self, number: int) -> None:
        """Another process has made a key of that number: it is opened when next asked for."""
        if self._current is not None and self._current.number != number:
            self._current = None

    async def rotate(self, actor: Actor, request_id: str) -> VerifierKey:
        """Sign with a new key from now on; the old one vouches for it, and is destroyed.

        Where the old one does not open any more, nobody vouches for the new one: verifiers have to be given it anew.
        Raises LogKeyUnusable, StoreError, CaError.
        """
        known = await self.all()
        if not known:
            return (await self.current()).verifier
        last = known[-1]
        try:
            old: LogKey | None = await self._opened(last)
        except LogKeyUnusable as error:
            get_logger(__name__).warning("the audit log's key is replaced and nothing vouches for it", why=str(error))
            old = None
        origin = parse_vkey(last.verifier).name
        await self._make(last.number + 1, origin, old, actor, request_id)
        self._current = None
        await self._keeper.forget(last.key_ref)
        return (await self.current()).verifier

    async def _make(self, number: int, origin: str, old: LogKey | None, actor: Actor, request_id: str) -> None:
        """Store a new key under `number`; one that another process has stored meanwhile stands instead."""
        try:
            made = await self._keeper.generate(KeyType.ED25519, PURPOSE)
        except CaError as error:
            raise LogKeyUnusable(f"a key for the audit log cannot be made: {error}") from error
        verifier = VerifierKey(origin, _raw(made.signer))
        endorsement = "" if old is None else sign_note(next_key_text(verifier), old.verifier, old.sign)

        def work(uow: UnitOfWork) -> None:
            uow.audit_keys.put(AuditKey(number, verifier.text, made.ref, endorsement, uow.now))
            details: dict[str, Json] = {"number": number, "verifier": verifier.text}
            uow.audit.append(
                self._events.make(
                    uow.now,
                    "audit.key.create",
                    actor,
                    Target("audit_key", str(number)),
                    request_id=request_id,
                    details=details,
                )
            )

        try:
            await self._store.write(work)
        except ConstraintViolated:
            await self._keeper.forget(made.ref)

    async def _opened(self, key: AuditKey) -> LogKey:
        try:
            verifier = parse_vkey(key.verifier)
            signer = await self._keeper.signer(key.key_ref)
        except (CaError, InvalidNote) as error:
            raise LogKeyUnusable(f"key {key.number} of the audit log does not open: {error}") from error
        if _raw(signer) != verifier.public_key:
            raise LogKeyUnusable(
                f"key {key.number} of the audit log is not the one that verifiers know: it was altered"
            )
        return LogKey(key.number, verifier, lambda text: signer.sign([text])[0])


def _raw(signer: Signer) -> bytes:
    public = signer.public_key
    if not isinstance(public, Ed25519PublicKey):
        raise LogKeyUnusable("the audit log's key is not an Ed25519 key")
    return public.public_bytes_raw()

"""What is stored of secrets rests sealed: each under the data key of its secret, and that under the key-encryption key.

AES-256-GCM with random nonces both times. What is sealed is bound to the trust domain, to the secret and to its place
there (a version, a lease), so that nothing opens where somebody else put it in the database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from attestation.spiffe_id import TrustDomain
from ca.errors import CaError, KeyUnwrapFailed
from ca.kek import NONCE_BYTES, DataKeyLabel, KeyRing, Wrapped, framed
from ca.masked import Masked
from sds.secrets.errors import SecretMalformed, SecretUnavailable
from sds.server.authority.kek_ring import fence
from sds.store.secrets.records import WrappedDataKey
from sds.store.unit_of_work import UnitOfWork

DATA_KEY_BYTES = 32  # AES-256
_CONTEXT = b"sds sealed secret v1"
_SECRET = "secret"  # noqa: S105 - what a data key is for
_TICKETS = "tickets"


@dataclass(frozen=True, slots=True)
class Box:
    """Something sealed, as it is stored. Nothing in it is secret."""

    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


def version_place(version: int) -> str:
    """The place of a version of the value."""
    return f"version {version}"


class UnknownKek(SecretUnavailable):
    """What would be opened lies under a key-encryption key that is not in our ring."""

    def __init__(self, kek_id: str, message: str) -> None:
        super().__init__(message)
        self.kek_id = kek_id


class Sealer:
    """Over the key ring that is in use at the moment of each call: it changes when the key-encryption key is rotated.

    Opened data keys are not kept: unwrapping one takes microseconds.
    """

    def __init__(
        self, ring: Callable[[], KeyRing], trust_domain: TrustDomain, random_bytes: Callable[[int], bytes]
    ) -> None:
        """`random_bytes` must be fit for secrets (os.urandom)."""
        self._ring = ring
        self._trust_domain = trust_domain
        self._random_bytes = random_bytes

    def new_data_key(self, secret_id: str) -> WrappedDataKey:
        """A random key for one secret. Call it under the feed's lock (`data_key`), or a rotation may miss it."""
        label = _label(self._trust_domain, _SECRET, secret_id)
        return _wrap(self._ring(), label, Masked(self._random_bytes(DATA_KEY_BYTES)), self._random_bytes)

    def data_key(self, uow: UnitOfWork, secret_id: str) -> WrappedDataKey:
        """The key that the secret has, or a new one, given to it. Raises NotFound, SecretUnavailable."""
        uow.changes.lock()
        return uow.secrets.data_key(secret_id) or uow.secrets.give_data_key(secret_id, self.fresh(uow, secret_id))

    def fresh(self, uow: UnitOfWork, secret_id: str) -> WrappedDataKey:
        """A random key for a secret that is about to be created in this transaction.

        Raises SecretUnavailable if another replica has rotated the key-encryption key and we have not learned of it:
        what we wrapped no other replica could open.
        """
        uow.changes.lock()
        key = self.new_data_key(secret_id)
        try:
            fence(uow, key.kek_id)
        except CaError as error:
            raise SecretUnavailable(str(error)) from error
        ring = self._ring()
        unknown = data_kek_ids(uow) - {kek.id for kek in (ring.current, *ring.previous)}
        if unknown:
            raise SecretUnavailable(
                f"this server's key file lacks key-encryption key {', '.join(sorted(unknown))}, under which "
                "secrets lie: copy the file of the replica that rotated it here"
            )
        return key

    def seal(self, secret_id: str, data_key: WrappedDataKey, place: str, plain: Masked[bytes]) -> Box:
        """Raises SecretUnavailable if the data key does not open."""
        nonce = self._random_bytes(NONCE_BYTES)
        cipher = AESGCM(self._open_key(secret_id, data_key).reveal())
        return Box(nonce, cipher.encrypt(nonce, plain.reveal(), self._bound(secret_id, place)))

    def open(self, secret_id: str, data_key: WrappedDataKey, place: str, box: Box) -> Masked[bytes]:
        """Raises SecretUnavailable if the data key does not open, SecretMalformed if what is in the box was altered."""
        cipher = AESGCM(self._open_key(secret_id, data_key).reveal())
        try:
            return Masked(cipher.decrypt(box.nonce, box.ciphertext, self._bound(secret_id, place)))
        except (InvalidTag, ValueError):
            raise SecretMalformed(f"{place} does not open: it was altered in the database") from None

    def seal_master(self, epoch: int, master: Masked[bytes]) -> WrappedDataKey:
        """The master of an epoch's session-ticket keys; call it under the feed's lock, or a rotation may miss it."""
        return _wrap(self._ring(), _label(self._trust_domain, _TICKETS, str(epoch)), master, self._random_bytes)

    def open_master(self, epoch: int, sealed: WrappedDataKey) -> Masked[bytes]:
        """Raises KeyUnwrapFailed."""
        return self._ring().unwrap(_wrapped(_label(self._trust_domain, _TICKETS, str(epoch)), sealed))

    def _open_key(self, secret_id: str, data_key: WrappedDataKey) -> Masked[bytes]:
        try:
            return self._ring().unwrap(_wrapped(_label(self._trust_domain, _SECRET, secret_id), data_key))
        except KeyUnwrapFailed as error:
            message = f"its data key does not open: {error}"
            ring = self._ring()
            if data_key.kek_id not in {kek.id for kek in (ring.current, *ring.previous)}:
                raise UnknownKek(data_key.kek_id, message) from error
            raise SecretUnavailable(message) from error

    def _bound(self, secret_id: str, place: str) -> bytes:
        return framed(_CONTEXT, self._trust_domain.name, secret_id, place)


def rewrap_data_keys(
    uow: UnitOfWork, ring: KeyRing, trust_domain: TrustDomain, random_bytes: Callable[[int], bytes]
) -> int:
    """Every data key and ticket master under the ring's current key; returns how many changed. All or nothing.

    What they protect stays as it is. To be called before rows of other tables are touched: it takes the feed's lock, so
    that keys which are being made under the former key are there when it looks. Raises KeyUnwrapFailed.
    """

    def again(purpose: str, key_id: str, key: WrappedDataKey) -> WrappedDataKey:
        new = ring.rewrap(_wrapped(_label(trust_domain, purpose, key_id), key), random_bytes(NONCE_BYTES))
        return WrappedDataKey(new.kek_id, new.nonce, new.ciphertext)

    done = uow.secrets.rewrap(lambda secret_id, key: again(_SECRET, secret_id, key))
    return done + uow.ticket_masters.rewrap(lambda epoch, key: again(_TICKETS, str(epoch), key))


def data_keys(uow: UnitOfWork) -> int:
    """How many keys of secrets there are for `rewrap_data_keys`."""
    return uow.secrets.count_data_keys() + uow.ticket_masters.count()


def data_kek_ids(uow: UnitOfWork) -> frozenset[str]:
    """The key-encryption keys without which something of the secrets does not open."""
    return uow.secrets.kek_ids() | uow.ticket_masters.kek_ids()


def _label(trust_domain: TrustDomain, purpose: str, key_id: str) -> DataKeyLabel:
    return DataKeyLabel(key_id, trust_domain.name, purpose)


def _wrap(
    ring: KeyRing, label: DataKeyLabel, key: Masked[bytes], random_bytes: Callable[[int], bytes]
) -> WrappedDataKey:
    wrapped = ring.wrap(label, key, random_bytes(NONCE_BYTES))
    return WrappedDataKey(wrapped.kek_id, wrapped.nonce, wrapped.ciphertext)


def _wrapped(label: DataKeyLabel, key: WrappedDataKey) -> Wrapped[DataKeyLabel]:
    return Wrapped(label, key.kek_id, key.nonce, key.ciphertext)

"""The key-encryption key: authority keys and data keys rest only wrapped by it. Pure; nonces are handed in."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeAlias, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ca.errors import InvalidKeyRing, KeyUnwrapFailed
from ca.keys import KeyType
from ca.masked import Masked

KEK_BYTES = 32  # AES-256
NONCE_BYTES = 12  # NIST SP 800-38D section 8.2.2; random ones are safe for 2^32 wraps under one key
MAX_FILE_BYTES = 4096
MAX_KEYS = 16

_HEADER = (
    "sds key-encryption keys v1: the first wraps, the others only unwrap. Without this file no authority key opens."
)
_CONTEXT = b"sds wrapped private key v1"
_DATA_CONTEXT = b"sds wrapped data key v1"


class Label(Protocol):
    """What a wrapped key is bound to: it opens only under the same label."""

    @property
    def key_id(self) -> str:
        """What errors call it."""
        ...

    def encode(self) -> bytes:
        """The additional authenticated data; no two labels encode alike."""
        ...


AnyLabel = TypeVar("AnyLabel", bound=Label)


@dataclass(frozen=True, slots=True)
class KeyLabel:
    """The label of a private key."""

    key_id: str
    trust_domain: str
    purpose: str
    key_type: KeyType

    def encode(self) -> bytes:
        return framed(_CONTEXT, self.key_id, self.trust_domain, self.purpose, self.key_type)


@dataclass(frozen=True, slots=True)
class DataKeyLabel:
    """The label of a symmetric key under which something else is encrypted."""

    key_id: str
    trust_domain: str
    purpose: str

    def encode(self) -> bytes:
        return framed(_DATA_CONTEXT, self.key_id, self.trust_domain, self.purpose)


def framed(context: bytes, *parts: str) -> bytes:
    """Each part with its length before it, so that no two lists of parts give the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in (context, *(part.encode() for part in parts)))


@dataclass(frozen=True, slots=True)
class Wrapped(Generic[AnyLabel]):
    """A key under AES-256-GCM, as it is stored. Nothing in it is secret."""

    label: AnyLabel
    kek_id: str
    nonce: bytes
    ciphertext: bytes


WrappedKey: TypeAlias = Wrapped[KeyLabel]
"""A private key (PKCS #8, DER). To make one, call `Wrapped`: a slotted class refuses to be called by its alias."""


@dataclass(frozen=True, slots=True)
class Kek:
    """One key-encryption key. `id` is the first 8 hex digits of its SHA-256."""

    id: str
    _key: Masked[bytes] = field(repr=False)

    @classmethod
    def of(cls, key: Masked[bytes]) -> Kek:
        """Raises InvalidKeyRing unless `key` has 32 bytes; they must come from a source fit for secrets."""
        if len(key.reveal()) != KEK_BYTES:
            raise InvalidKeyRing(f"a key-encryption key has {KEK_BYTES} bytes")
        return cls(hashlib.sha256(key.reveal()).hexdigest()[:8], key)

    def wrap(self, label: AnyLabel, key: Masked[bytes], nonce: bytes) -> Wrapped[AnyLabel]:
        """Raises ValueError unless `nonce` has 12 bytes; it must never repeat under one key."""
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"a nonce has {NONCE_BYTES} bytes")
        ciphertext = AESGCM(self._key.reveal()).encrypt(nonce, key.reveal(), label.encode())
        return Wrapped(label, self.id, nonce, ciphertext)

    def unwrap(self, wrapped: Wrapped[AnyLabel]) -> Masked[bytes]:
        """The key itself. Raises KeyUnwrapFailed if the key-encryption key is another or any byte was altered."""
        try:
            plain = AESGCM(self._key.reveal()).decrypt(wrapped.nonce, wrapped.ciphertext, wrapped.label.encode())
        except (InvalidTag, ValueError) as error:
            raise KeyUnwrapFailed(
                f"key {wrapped.label.key_id} does not open with key-encryption key {self.id}: it was altered, "
                "or belongs to another trust domain"
            ) from error
        return Masked(plain)

    def encode(self) -> Masked[str]:
        """The key's line in a key ring file."""
        return Masked(f"{self.id} {base64.b64encode(self._key.reveal()).decode()}")


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The key-encryption key in use, and earlier ones whose wrapped keys have not all been wrapped anew."""

    current: Kek
    previous: tuple[Kek, ...] = ()

    def wrap(self, label: AnyLabel, key: Masked[bytes], nonce: bytes) -> Wrapped[AnyLabel]:
        """Wrap with the current key."""
        return self.current.wrap(label, key, nonce)

    def unwrap(self, wrapped: Wrapped[AnyLabel]) -> Masked[bytes]:
        """Unwrap with the key that wrapped it. Raises KeyUnwrapFailed if the ring lacks it."""
        for kek in (self.current, *self.previous):
            if kek.id == wrapped.kek_id:
                return kek.unwrap(wrapped)
        raise KeyUnwrapFailed(
            f"key {wrapped.label.key_id} is wrapped by key-encryption key {wrapped.kek_id}, which the key file lacks; "
            "restore the file that has it"
        )

    def rewrap(self, wrapped: Wrapped[AnyLabel], nonce: bytes) -> Wrapped[AnyLabel]:
        """The same key under the current key; unchanged if it is already. Raises KeyUnwrapFailed."""
        if wrapped.kek_id == self.current.id:
            return wrapped
        return self.wrap(wrapped.label, self.unwrap(wrapped), nonce)

    def rotated(self, new: Kek) -> KeyRing:
        """The ring with `new` in use and every earlier key still able to unwrap."""
        return KeyRing(new, (self.current, *self.previous))

    def retired(self) -> KeyRing:
        """The ring with the current key alone; only once nothing is wrapped by the others."""
        return replace(self, previous=())

    def encode(self) -> Masked[str]:
        """The text of a key ring file, which only its owner may read."""
        lines = [f"# {_HEADER}", *(kek.encode().reveal() for kek in (self.current, *self.previous))]
        return Masked("\n".join(lines) + "\n")


def parse_key_ring(text: Masked[str]) -> KeyRing:
    """Read a key ring file: comments and one ``<id> <base64>`` a line, the key in use first.

    Raises InvalidKeyRing, which names the line and never shows it.
    """
    content = text.reveal()
    if len(content) > MAX_FILE_BYTES:
        raise InvalidKeyRing(f"the key file has more than {MAX_FILE_BYTES} bytes")
    keks = []
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            keks.append(_parse_line(number, line))
    if not keks:
        raise InvalidKeyRing("the key file holds no key")
    if len(keks) > MAX_KEYS or len({kek.id for kek in keks}) != len(keks):
        raise InvalidKeyRing(f"the key file holds a key twice, or more than {MAX_KEYS} keys")
    return KeyRing(keks[0], tuple(keks[1:]))


def _parse_line(number: int, line: str) -> Kek:
    identifier, _, encoded = line.strip().partition(" ")
    try:
        kek = Kek.of(Masked(base64.b64decode(encoded, validate=True)))
    except (binascii.Error, ValueError, InvalidKeyRing):
        # Not chained: the cause could show part of the line.
        raise InvalidKeyRing(f"line {number} of the key file is not an id and {KEK_BYTES} bytes in base64") from None
    if kek.id != identifier:
        raise InvalidKeyRing(f"line {number} of the key file: the id does not belong to the key; the line was altered")
    return kek

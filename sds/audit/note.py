"""Signed notes (c2sp.org/signed-note) with Ed25519, and the text form of the keys that verify them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ED25519 = b"\x01"  # the signature type's identifier byte
KEY_BYTES = 32
SIGNATURE_BYTES = 64
KEY_ID_BYTES = 4
MAX_NOTE_BYTES = 64 * 1024
MAX_SIGNATURES = 16  # verifiers must take at least these many
_MAX_SIGNATURE_TEXT = 8192  # characters; other kinds of signatures than ours may be long

_SIGNATURE_LINE = re.compile(r"— (?P<name>[^\s+]+) (?P<signature>[A-Za-z0-9+/]+={0,2})")
_VKEY = re.compile(r"(?P<name>[^\s+]+)\+(?P<id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/]+={0,2})")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")

Sign = Callable[[bytes], bytes]
"""An Ed25519 signature over the bytes."""


class InvalidNote(ValueError):
    """The bytes are no signed note, or no note that the given keys vouch for. The message never repeats them."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a key that signs notes. `public_key` is 32 bytes by RFC 8032."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        """Raises InvalidNote for a name that a note cannot have, or another length of key."""
        if not re.fullmatch(r"[^\s+]+", self.name) or not self.name.isprintable() or len(self.public_key) != KEY_BYTES:
            raise InvalidNote("a key has a name without spaces and plus signs, and 32 bytes")

    @property
    def id(self) -> bytes:
        """The key ID: four bytes that tell keys of one name apart, not a fingerprint to trust."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public_key).digest()[:KEY_ID_BYTES]

    @property
    def text(self) -> str:
        """``name+id+key``, as verifiers are configured with (vkey)."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(ED25519 + self.public_key).decode()}"

    def verifies(self, text: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line. `key_id` says which key of that name has signed."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A text, with its final newline, and who says to have signed it. Not to be believed before `verified_by`."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def verified_by(self, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
        """Those of `keys` whose signature stands here.

        Signatures of other keys are passed over. Raises InvalidNote if one by a key among them is false, or none is by
        one of them.
        """
        known = {(key.name, key.id): key for key in keys}
        found = []
        for each in self.signatures:
            key = known.get((each.name, each.key_id))
            if key is None:
                continue
            if not key.verifies(self.text.encode(), each.signature):
                raise InvalidNote(f"the signature of {key.name} is false: the text was altered")
            found.append(key)
        if not found:
            raise InvalidNote("none of the known keys has signed it")
        return tuple(found)


def sign_note(text: str, key: VerifierKey, sign: Sign) -> str:
    """The note of `text`, which ends in a newline, with one signature. Raises InvalidNote."""
    if not text.endswith("\n") or _CONTROL.search(text) or "\n\n" in text:
        raise InvalidNote("the text must end in a newline, have no empty lines and no control characters")
    signature = base64.b64encode(key.id + sign(text.encode())).decode()
    return f"{text}\n— {key.name} {signature}\n"


def parse_note(unverified: str | bytes) -> SignedNote:
    """Read a note strictly. Raises InvalidNote."""
    text = _decoded(unverified)
    body, blank, lines = text.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise InvalidNote("a note has a text, an empty line and lines of signatures that end in a newline")
    signatures = tuple(_signature(line) for line in lines[:-1].split("\n"))
    if len(signatures) > MAX_SIGNATURES:
        raise InvalidNote(f"the note has more than {MAX_SIGNATURES} signatures")
    return SignedNote(body + "\n", signatures)


def parse_vkey(text: str) -> VerifierKey:
    """Read ``name+id+key``. Raises InvalidNote."""
    found = _VKEY.fullmatch(text)
    if found is None:
        raise InvalidNote("a verifier key is written name+id+key")
    raw = _base64(found["key"])
    if raw[:1] != ED25519:
        raise InvalidNote("the verifier key is of a kind that is not known here; only Ed25519 is")
    key = VerifierKey(found["name"], raw[1:])
    if key.id.hex() != found["id"]:
        raise InvalidNote("the verifier key's id does not belong to its name and key")
    return key


def decode_hash(text: str) -> bytes:
    """32 bytes from base64, the one way to write them. Raises InvalidNote."""
    raw = _base64(text)
    if len(raw) != KEY_BYTES:
        raise InvalidNote("a hash has 32 bytes")
    return raw


def _decoded(unverified: str | bytes) -> str:
    try:
        raw = unverified if isinstance(unverified, bytes) else unverified.encode()
        if len(raw) > MAX_NOTE_BYTES:
            raise InvalidNote(f"the note has more than {MAX_NOTE_BYTES} bytes")
        text = raw.decode()
    except UnicodeError:
        raise InvalidNote("the note is not UTF-8") from None
    if _CONTROL.search(text):
        raise InvalidNote("the note has control characters")
    return text


def _signature(line: str) -> NoteSignature:
    found = _SIGNATURE_LINE.fullmatch(line)
    if found is None or len(line) > _MAX_SIGNATURE_TEXT:
        raise InvalidNote("a line of the signatures is not one")
    raw = _base64(found["signature"])
    if len(raw) <= KEY_ID_BYTES:
        raise InvalidNote("a signature is empty")
    return NoteSignature(found["name"], raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])


def _base64(text: str) -> bytes:
    """The bytes; refuses the other spellings that lenient decoders take (RFC 4648 section 3.5)."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidNote("a part is not base64") from None
    if base64.b64encode(raw).decode() != text:
        raise InvalidNote("a part is not base64 in its one canonical spelling")
    return raw

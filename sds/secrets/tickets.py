"""Session-ticket keys (RFC 5077, RFC 8446 4.6.1): the same for all of one SPIFFE ID, others for everybody else. Pure.

One random master an epoch is all that is kept; each identity's key of that epoch comes from it by HKDF. Three epochs
count: the newest only decrypts, so that everybody has it before anybody encrypts by it; the one before encrypts; the
one before that still decrypts what it encrypted. With the master of an epoch its keys are gone, and with them whoever
would open recorded traffic that was resumed by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from attestation.spiffe_id import SpiffeId
from ca.masked import Masked
from sds.secrets.secret import SecretKind, SecretValue

MASTER_BYTES = 32
KEY_BYTES = 80
"""A name of 16, a key for HMAC-SHA256 of 32 and one for AES-256-CBC of 32 (Envoy's TlsSessionTicketKeys)."""
KEPT = 3
"""Epochs: the next, the current and the previous."""

_CONTEXT = b"sds session ticket keys v1"


@dataclass(frozen=True, slots=True)
class Epoch:
    """When the master of an epoch was made, and which it is. Numbers start at 1 and grow by one."""

    number: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Turn:
    """What is due: masters to make, and the first epoch that stays."""

    make: tuple[int, ...]
    keep_from: int


def due(epochs: tuple[Epoch, ...], now: datetime, every: timedelta) -> Turn | None:
    """What a rotation does now, oldest epoch first in `epochs`; None: nothing.

    The first time two are made, so that one encrypts at once: nobody has anything older. After a long pause there is
    one turn and not several, for each new master must be with everybody before it encrypts.
    """
    if not epochs:
        return Turn((1, 2), 1)
    newest = epochs[-1]
    if len(epochs) == 1:
        return Turn((newest.number + 1,), newest.number)
    if now - newest.created_at < every:
        return None
    following = newest.number + 1
    return Turn((following,), following - KEPT + 1)


def order(epochs: tuple[Epoch, ...]) -> tuple[Epoch, ...]:
    """The epochs as an identity's keys are ordered: the first encrypts, all decrypt."""
    if len(epochs) < 2:
        return epochs
    *earlier, current, following = epochs[-KEPT:]
    return (current, following, *earlier)


def ticket_key(master: Masked[bytes], epoch: int, spiffe_id: SpiffeId) -> Masked[bytes]:
    """One identity's key of one epoch (RFC 5869). Raises ValueError unless `master` has 32 bytes."""
    secret = master.reveal()
    if len(secret) != MASTER_BYTES:
        raise ValueError(f"a master has {MASTER_BYTES} bytes")
    parts = (_CONTEXT, epoch.to_bytes(8, "big"), str(spiffe_id).encode())
    info = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return Masked(HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(secret))


def ticket_keys(epochs: tuple[Epoch, ...], masters: Mapping[int, Masked[bytes]], spiffe_id: SpiffeId) -> SecretValue:
    """The keys of an identity. Its version names the newest epoch and when it was made, so it never comes again."""
    newest = epochs[-1]
    keys = tuple(
        (str(place), ticket_key(masters[epoch.number], epoch.number, spiffe_id))
        for place, epoch in enumerate(order(epochs))
    )
    return SecretValue(SecretKind.TICKETS, f"{newest.number}-{int(newest.created_at.timestamp())}", keys)

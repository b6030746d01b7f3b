"""API tokens: how they look, and whether one is the one that was given out.

``sds_at_`` so that scanners of leaked secrets find them; then 16 hex digits by which it is looked up, then 64 that are
the secret (256 bits: no guess succeeds, so a fast hash is enough).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from ca.masked import Masked

PREFIX = "sds_at_"
ID_BYTES = 8
SECRET_BYTES = 32
_FORM = re.compile(r"sds_at_([0-9a-f]{16})([0-9a-f]{64})", re.ASCII)
_NO_HASH = hashlib.sha256(b"no such token").hexdigest()


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token in its parts."""

    id: str
    text: Masked[str]

    @classmethod
    def make(cls, id_bytes: bytes, secret: Masked[bytes]) -> ApiToken:
        """From randomness that is handed in."""
        token_id = id_bytes.hex()
        return cls(token_id, Masked(f"{PREFIX}{token_id}{secret.reveal().hex()}"))

    @classmethod
    def parse(cls, unverified: str) -> ApiToken | None:
        """None for what no token looks like."""
        found = _FORM.fullmatch(unverified)
        return None if found is None else cls(found[1], Masked(unverified))

    @property
    def hash(self) -> str:
        """Hex SHA-256 of all of it, which is what is stored."""
        return hashlib.sha256(self.text.reveal().encode()).hexdigest()


def is_genuine(unverified: ApiToken, stored_hash: str | None) -> bool:
    """Whether it is the one whose hash is stored. `stored_hash` None: no token has its ID.

    Compared in constant time, and where nothing is stored with something all the same: how long it takes says nothing.
    """
    expected = _NO_HASH if stored_hash is None else stored_hash
    same = hmac.compare_digest(unverified.hash, expected)
    return same and stored_hash is not None

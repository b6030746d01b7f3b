"""The values of this package's repositories that `sds.secrets` does not have. Nothing in them is secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from sds.secrets.secret import SecretKind

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class WrappedDataKey:
    """A data key as it rests: under the key-encryption key `kek_id`."""

    kek_id: str
    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sealed:
    """One version of a value under its secret's data key. `version` starts at 1 and only grows."""

    version: int
    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """What is known of a stored version beside its value. `not_after`: when the value ends by itself."""

    secret_id: str
    version: int
    created_at: datetime
    created_by: str
    not_after: datetime | None = None
    destroyed_at: datetime | None = None

    @property
    def live(self) -> bool:
        """Whether it has not been destroyed."""
        return self.destroyed_at is None


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version and its value; the value of a destroyed one is empty bytes that open under no key."""

    record: VersionRecord
    sealed: Sealed


@dataclass(frozen=True, slots=True)
class SecretFilter:
    """Filters are and-ed; one that is not given matches all."""

    prefix: str = ""  # of its name, by characters
    kind: SecretKind | None = None
    backend: str | None = None  # embedded, kv, database, pki
    owner: str | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: _NOTHING)  # the secret has all of these
    problem: bool | None = None  # whether something is wrong with it
    problem_code: str | None = None
    last_first: bool = False  # in the order of names, turned round


@dataclass(frozen=True, slots=True)
class TicketMaster:
    """What an epoch's session-ticket keys are derived from, wrapped by the key-encryption key."""

    epoch: int
    key: WrappedDataKey
    created_at: datetime

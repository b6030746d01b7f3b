"""The table of sources: which backend answers for a secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from attestation.spiffe_id import SpiffeId
from sds.secrets.backend import Fetched, SecretBackend
from sds.secrets.errors import SecretError, SecretUnavailable
from sds.secrets.secret import (
    TICKETS,
    DatabaseSource,
    EmbeddedSource,
    KvSource,
    PkiSource,
    Secret,
    SecretKind,
    SecretSpec,
    VersionInfo,
)
from sds.server.secrets.tickets import TicketKeys

EMBEDDED, KV, DATABASE, PKI = "embedded", "kv", "database", "pki"
BACKENDS = (EMBEDDED, KV, DATABASE, PKI, TICKETS)
"""Every name there can be; also a metric label."""

_NAMES = {EmbeddedSource: EMBEDDED, KvSource: KV, DatabaseSource: DATABASE, PkiSource: PKI}
_NEEDS_VAULT = "the server is not configured to use Vault (vault.address)"


def backend_name(secret: Secret) -> str:
    """Which of BACKENDS the secret's source belongs to."""
    return TICKETS if secret.id == TICKETS else _NAMES[type(secret.spec.source)]


class SecretBackends:
    """`table` maps names of BACKENDS to those that this server has."""

    def __init__(self, table: Mapping[str, SecretBackend]) -> None:
        self._table = dict(table)

    def of(self, secret: Secret) -> SecretBackend:
        """Raises SecretUnavailable: this server is not configured for it."""
        backend = self._table.get(backend_name(secret))
        if backend is None:
            raise SecretUnavailable(_NEEDS_VAULT)
        return backend

    def per_identity(self, secret: Secret) -> bool:
        """Whether each receiver has a value of its own."""
        backend = self._table.get(backend_name(secret))
        return backend is not None and backend.per_identity


class TicketBackend:
    """Session-ticket keys, as if they were a secret that every identity is granted its own value of."""

    name = TICKETS
    per_identity = True

    def __init__(self, keys: TicketKeys) -> None:
        self._keys = keys

    async def fetch(self, secret: Secret, receiver: SpiffeId | None = None) -> Fetched:
        del secret
        if receiver is None:
            raise SecretUnavailable("session-ticket keys belong to an identity")
        value = await self._keys.keys_for(receiver)
        return Fetched(value.version, dict(value.fields), not_after=value.not_after)

    async def newest(self, secrets: Sequence[Secret]) -> Mapping[str, str | SecretError]:
        del secrets
        return {}

    async def versions(self, secret: Secret) -> tuple[VersionInfo, ...]:
        del secret
        return ()

    async def release(self, secret: Secret, receiver: SpiffeId | None = None) -> None:
        """They are derived, so there is nothing to give back."""
        del secret, receiver


TICKET_SECRET = Secret(
    TICKETS,
    1,
    datetime(2000, 1, 1, tzinfo=UTC),
    datetime(2000, 1, 1, tzinfo=UTC),
    SecretSpec(TICKETS, SecretKind.TICKETS, EmbeddedSource()),
)
"""What stands behind the reserved name; it has no row, so its times mean nothing."""

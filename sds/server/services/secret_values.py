"""A value that an administrator brought: taken where values lie here, and else refused with where to write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ca.masked import Masked
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services.secrets import PutOrder
from sds.secrets.errors import SecretMalformed
from sds.secrets.secret import DatabaseSource, EmbeddedSource, KvSource, PkiSource, Secret
from sds.store.secrets.records import VersionRecord
from sds.store.unit_of_work import UnitOfWork


class Values(Protocol):
    """sds.server.secrets.embedded.EmbeddedValues."""

    def put(
        self,
        uow: UnitOfWork,
        secret: Secret,
        fields: Mapping[str, Masked[bytes]],
        *,
        by: str,
        if_version: int | None = None,
    ) -> VersionRecord:
        """Raises SecretMalformed, Conflict, SecretUnavailable."""
        ...


def write(uow: UnitOfWork, values: Values, secret: Secret, order: PutOrder, by: str) -> VersionRecord:
    """The next version. Raises InvalidInput, which says nothing of the value; Conflict, SecretUnavailable."""
    where = _elsewhere(secret)
    if where:
        raise InvalidInput([FieldProblem("source", where)])
    try:
        return values.put(uow, secret, order.fields, by=by, if_version=order.if_version)
    except SecretMalformed as error:
        raise InvalidInput([FieldProblem("fields", str(error))]) from None


def _elsewhere(secret: Secret) -> str:
    """Where its values are written instead; empty if they lie here."""
    match secret.spec.source:
        case EmbeddedSource():
            return ""
        case KvSource(mount, path):
            return f"is Vault: write it there, to the KV engine {mount} at {path}"
        case DatabaseSource(mount, role):
            return f"is Vault's database engine {mount}, whose role {role} makes credentials: nobody writes them"
        case PkiSource(mount, role):
            return f"is Vault's PKI engine {mount}, whose role {role} issues certificates: nobody writes them"

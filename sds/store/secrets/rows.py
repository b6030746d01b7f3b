"""Rows of the secrets' tables as values, and values as columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row

from attestation.spiffe_id import SpiffeId
from sds.secrets.grant import Below, Exactly, Grant, Labelled, Subject
from sds.secrets.secret import (
    DatabaseSource,
    EmbeddedSource,
    KvSource,
    PkiSource,
    RotationPolicy,
    Secret,
    SecretKind,
    SecretSpec,
    SecretState,
    Source,
)
from sds.store.codec import MICROSECOND, labels, to_json
from sds.store.secrets.records import Sealed, StoredVersion, TicketMaster, VersionRecord, WrappedDataKey
from sds.store.times import from_micros, from_micros_or_none, to_micros_or_none

NO_KEY: Mapping[str, Any] = {"kek_id": "", "key_nonce": b"", "key_ciphertext": b""}
NEVER_CHECKED = SecretState()


def source_text(source: Source) -> str:
    """The backend's name and its reference. `backend` is the first name in it, by which lists are filtered."""
    match source:
        case EmbeddedSource():
            return to_json({"backend": "embedded"})
        case KvSource(mount, path, fields):
            return to_json({"backend": "kv", "mount": mount, "path": path, "fields": dict(fields)})
        case DatabaseSource(mount, role):
            return to_json({"backend": "database", "mount": mount, "role": role})
        case PkiSource(mount, role, common_name, dns_names, ttl):
            parts = {"mount": mount, "role": role, "common_name": common_name, "dns_names": dns_names}
            return to_json({"backend": "pki", **parts, "ttl": None if ttl is None else ttl // MICROSECOND})


def parse_source(text: str) -> Source:
    parts = json.loads(text)
    match parts.pop("backend"):
        case "embedded":
            return EmbeddedSource()
        case "kv":
            return KvSource(parts["mount"], parts["path"], MappingProxyType(parts["fields"]))
        case "database":
            return DatabaseSource(parts["mount"], parts["role"])
        case "pki":
            names, ttl = tuple(parts["dns_names"]), _span(parts["ttl"])
            return PkiSource(parts["mount"], parts["role"], parts["common_name"], names, ttl)
        case other:
            raise ValueError(f"a secret's source is of the unknown kind {other!r}")


def spec_columns(spec: SecretSpec) -> Mapping[str, Any]:
    every = spec.rotation.every
    return {
        "name": spec.name,
        "kind": spec.kind.value,
        "source": source_text(spec.source),
        "owner": spec.owner,
        "labels": to_json(dict(spec.labels)),
        "refresh": None if spec.refresh is None else spec.refresh // MICROSECOND,
        "rotate_every": None if every is None else every // MICROSECOND,
        "generate": spec.rotation.generate,
    }


def secret(row: Row[Any]) -> Secret:
    return Secret(
        id=row.id,
        revision=row.revision,
        created_at=from_micros(row.created_at),
        updated_at=from_micros(row.updated_at),
        spec=SecretSpec(
            name=row.name,
            kind=SecretKind(row.kind),
            source=parse_source(row.source),
            owner=row.owner,
            labels=labels(row.labels),
            refresh=_span(row.refresh),
            rotation=RotationPolicy(_span(row.rotate_every), row.generate),
        ),
        pinned=row.pinned,
    )


def state_columns(state: SecretState) -> Mapping[str, Any]:
    return {
        "version": state.version,
        "changed_at": to_micros_or_none(state.changed_at),
        "checked_at": to_micros_or_none(state.checked_at),
        "not_after": to_micros_or_none(state.not_after),
        "problem": state.problem,
        "problem_code": state.problem_code,
        "problem_since": to_micros_or_none(state.problem_since),
    }


def state(row: Row[Any]) -> SecretState:
    return SecretState(
        version=row.version,
        changed_at=from_micros_or_none(row.changed_at),
        checked_at=from_micros_or_none(row.checked_at),
        not_after=from_micros_or_none(row.not_after),
        problem=row.problem,
        problem_code=row.problem_code,
        problem_since=from_micros_or_none(row.problem_since),
    )


def key_columns(key: WrappedDataKey | None) -> Mapping[str, Any]:
    if key is None:
        return NO_KEY
    return {"kek_id": key.kek_id, "key_nonce": key.nonce, "key_ciphertext": key.ciphertext}


def version_record(row: Row[Any]) -> VersionRecord:
    return VersionRecord(
        secret_id=row.secret_id,
        version=row.version,
        created_at=from_micros(row.created_at),
        created_by=row.created_by,
        not_after=from_micros_or_none(row.not_after),
        destroyed_at=from_micros_or_none(row.destroyed_at),
    )


def stored_version(row: Row[Any]) -> StoredVersion:
    return StoredVersion(version_record(row), Sealed(row.version, bytes(row.nonce), bytes(row.ciphertext)))


def subject_columns(subject: Subject) -> Mapping[str, str]:
    match subject:
        case Exactly(spiffe_id):
            return {"kind": "exactly", "value": str(spiffe_id)}
        case Below(prefix):
            return {"kind": "below", "value": str(prefix)}
        case Labelled(wanted):
            return {"kind": "labelled", "value": to_json(dict(wanted))}


def subject(kind: str, value: str) -> Subject:
    match kind:
        case "exactly":
            return Exactly(SpiffeId.parse(value))
        case "below":
            return Below(SpiffeId.parse(value))
        case "labelled":
            return Labelled(labels(value))
        case other:
            raise ValueError(f"a grant is of the unknown kind {other!r}")


def grant(row: Row[Any]) -> Grant:
    return Grant(row.id, row.secret_id, subject(row.kind, row.value), from_micros(row.created_at), row.created_by)


def ticket_master(row: Row[Any]) -> TicketMaster:
    key = WrappedDataKey(row.kek_id, bytes(row.nonce), bytes(row.ciphertext))
    return TicketMaster(row.epoch, key, from_micros(row.created_at))


def _span(micros: int | None) -> timedelta | None:
    return None if micros is None else micros * MICROSECOND

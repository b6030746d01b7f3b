"""Definitions and grants as the API and the audit log write them. Pure."""

from __future__ import annotations

from datetime import timedelta

from sds.secrets.grant import Below, Exactly, Labelled, Subject
from sds.secrets.secret import DatabaseSource, EmbeddedSource, KvSource, PkiSource, SecretSpec, Source


def as_json(spec: SecretSpec) -> dict[str, object]:
    """The fields of a definition; spans in seconds."""
    return {
        "name": spec.name,
        "kind": spec.kind.value,
        "source": source_json(spec.source),
        "owner": spec.owner,
        "labels": dict(sorted(spec.labels.items())),
        "refresh": _seconds(spec.refresh),
        "rotate_every": _seconds(spec.rotation.every),
        "generate": spec.rotation.generate,
    }


def diff(old: SecretSpec, new: SecretSpec) -> dict[str, tuple[object, object]]:
    """The fields that differ, each with its value before and after, as JSON would have them."""
    before, after = as_json(old), as_json(new)
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def source_json(source: Source) -> dict[str, object]:
    """The backend's name and its reference."""
    match source:
        case EmbeddedSource():
            return {"backend": "embedded"}
        case KvSource(mount, path, fields):
            return {"backend": "kv", "mount": mount, "path": path, "fields": dict(sorted(fields.items()))}
        case DatabaseSource(mount, role):
            return {"backend": "database", "mount": mount, "role": role}
        case PkiSource(mount, role, common_name, dns_names, ttl):
            parts = {"mount": mount, "role": role, "common_name": common_name, "dns_names": list(dns_names)}
            return {"backend": "pki", **parts, "ttl": _seconds(ttl)}


def subject_json(subject: Subject) -> dict[str, object]:
    """Whom a grant names: one of three fields."""
    match subject:
        case Exactly(spiffe_id):
            return {"spiffe_id": str(spiffe_id)}
        case Below(prefix):
            return {"spiffe_id_prefix": str(prefix)}
        case Labelled(labels):
            return {"labels": dict(sorted(labels.items()))}


def _seconds(span: timedelta | None) -> int | None:
    """Whole ones: the audit log's JSON has no fractions."""
    return None if span is None else int(span.total_seconds())

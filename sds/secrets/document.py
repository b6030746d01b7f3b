"""A secret as an HTTP answer has it, from agents and from the server alike. Pure."""

from __future__ import annotations

import base64
import json
from hashlib import sha256

from sds.secrets.secret import SecretKind, SecretValue


class NoSuchField(Exception):
    """The secret has no field of that name."""


def etag(value: SecretValue, field: str | None) -> str:
    """The entity tag of one representation: of the version and the field, never of the value (RFC 9110 8.8.3)."""
    parts = (value.kind.value, value.version, "whole" if field is None else f"field:{field}")
    return '"' + sha256("\0".join(parts).encode()).hexdigest()[:32] + '"'


def document(name: str, value: SecretValue) -> bytes:
    """JSON: `value` of a generic secret, else `fields`; all values as text, or, if one is no UTF-8, all as base64."""
    fields = {key: masked.reveal() for key, masked in value.fields}
    encoding, texts = _texts(fields)
    body: dict[str, object] = {
        "name": name,
        "kind": value.kind.value,
        "version": value.version,
        "not_after": None if value.not_after is None else value.not_after.isoformat().replace("+00:00", "Z"),
        "encoding": encoding,
    }
    if value.kind is SecretKind.GENERIC:
        body["value"] = texts.get("", "")
    else:
        body["fields"] = texts
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def one_field(value: SecretValue, field: str) -> bytes:
    """One field's bytes as they are. Raises NoSuchField."""
    for key, masked in value.fields:
        if key == field:
            return masked.reveal()
    raise NoSuchField


def _texts(fields: dict[str, bytes]) -> tuple[str, dict[str, str]]:
    try:
        return "utf-8", {name: value.decode() for name, value in fields.items()}
    except UnicodeDecodeError:
        return "base64", {name: base64.b64encode(value).decode() for name, value in fields.items()}

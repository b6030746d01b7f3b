"""Callers of sessions as texts, and cookies as the hashes that are stored of them."""

from __future__ import annotations

import hashlib
import json

from sds.admin.services import Caller, CallerKind
from sds.store.codec import to_json


def caller_text(caller: Caller, subjects: tuple[str, ...]) -> str:
    return to_json({"id": caller.id, "kind": caller.kind.value, "name": caller.name, "subjects": list(subjects)})


def caller_of(text: str) -> tuple[Caller, tuple[str, ...]]:
    """The reverse; the text is our own."""
    value = json.loads(text)
    caller = Caller(CallerKind(value["kind"]), value["id"], value["name"])
    return caller, tuple(value["subjects"])


def cookie_hash(cookie: str) -> str:
    """Of a value with 256 random bits, for which a fast hash is enough."""
    return hashlib.sha256(b"sds session " + cookie.encode()).hexdigest()

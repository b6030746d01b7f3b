"""An event's proof: every step can fail, and does for what it is there for."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sds.admin.pages.proof import verified
from sds.audit.checkpoint import Checkpoint, signed
from sds.audit.merkle import leaf_hash, node_hash
from sds.audit.note import VerifierKey

KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)


def vkey(key: Ed25519PrivateKey) -> VerifierKey:
    return VerifierKey("example.org/log", key.public_key().public_bytes_raw())


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def case(key: Ed25519PrivateKey = KEY) -> tuple[dict[str, Any], dict[str, Any]]:
    """Leaf 1 of three, as the API tells of it."""
    facts = {"id": "e2", "action": "entry.update", "outcome": "success", "reason": "why", "request_id": "r"}
    content = json.dumps(facts, sort_keys=True)
    leaves = [leaf_hash(b"first"), leaf_hash(content.encode()), leaf_hash(b"third")]
    root = node_hash(node_hash(leaves[0], leaves[1]), leaves[2])
    note = signed(Checkpoint("example.org/log", 3, root).text, vkey(key), key.sign)
    event = {**facts, "canonical": content, "leaf": 1, "leaf_hash": b64(leaves[1]), "sequence": 12}
    return event, {"leaf": 1, "size": 3, "path": [b64(leaves[0]), b64(leaves[2])], "checkpoint": note}


def holds(event: dict[str, Any], proof: dict[str, Any]) -> list[bool]:
    return [step.ok for step in verified(event, proof, [vkey(KEY).text])]


def test_what_stands_in_the_log_is_proved() -> None:
    assert holds(*case()) == [True] * 4


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ({"action": "entry.delete"}, 0),
        ({"reason": "another"}, 0),
        ({"canonical": "[]"}, 0),
        ({"canonical": "no json"}, 0),
        ({"leaf_hash": b64(bytes(32))}, 1),
    ],
)
def test_an_event_that_was_altered_is_not(change: dict[str, Any], fails: int) -> None:
    event, proof = case()
    assert holds({**event, **change}, proof)[fails] is False


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ({"size": 4}, 2),
        ({"checkpoint": "no note"}, 2),
        ({"leaf": 0}, 3),
        ({"path": []}, 3),
        ({"path": ["!"]}, 3),
        ({"path": [b64(bytes(32)), b64(bytes(32))]}, 3),
    ],
)
def test_a_proof_of_something_else_is_none(change: dict[str, Any], fails: int) -> None:
    event, proof = case()
    assert holds(event, {**proof, **change})[fails] is False


def test_a_checkpoint_of_another_key_is_worth_nothing() -> None:
    assert holds(*case(OTHER)) == [True, True, False, True]

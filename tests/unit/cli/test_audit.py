"""sds audit over a log in memory: what is found, shown with its proof, exported and verified."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sds.audit.export import leaf_line, parse_line
from sds.audit.merkle import leaf_hash
from tests.fakes.admin_ledger import KEY
from tests.fakes.admin_server import Running
from tests.unit.cli.conftest import Sds


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state" / "audit.json"


@pytest.fixture
def grown(running: Running, sds: Sds) -> Sds:
    for number in range(5):
        sds("token", "create", "--spiffe-id", f"spiffe://example.org/n{number}")
    return sds


def verify(sds: Sds, state: Path, *more: str, code: int = 0) -> dict:
    return json.loads(sds("audit", "verify", "--state", str(state), "-o", "json", *more, code=code).stdout or "{}")


def test_search(grown: Sds) -> None:
    everything = json.loads(grown("audit", "search", "-o", "json").stdout)["events"]
    assert [one["sequence"] for one in everything] == sorted([one["sequence"] for one in everything], reverse=True)
    assert len(everything) >= 5
    found = json.loads(grown("audit", "search", "--action", "token.create", "--limit", "2", "-o", "json").stdout)
    assert len(found["events"]) == 2
    one = everything[0]
    by_request = json.loads(grown("audit", "search", "--request-id", one["request_id"], "-o", "json").stdout)["events"]
    assert [each["sequence"] for each in by_request] == [one["sequence"]]
    assert json.loads(grown("audit", "search", "--until", "1h", "-o", "json").stdout)["events"] == []
    assert len(json.loads(grown("audit", "search", "--since", "1h", "-o", "json").stdout)["events"]) == len(everything)
    assert "token.create" in grown("audit", "search").stdout


@pytest.mark.parametrize("when", ["yesterday", "2030-01-01T00:00:00", "-1h"])
def test_times_that_are_none(grown: Sds, when: str) -> None:
    grown("audit", "search", f"--since={when}", code=2)


def test_show_verifies_in_front_of_you(grown: Sds, tmp_path: Path) -> None:
    env = {"SDS_AUDIT_STATE_FILE": str(tmp_path / "state")}
    shown = grown("audit", "show", "2", **env).stdout
    assert "Verified here: leaf 1 of" in shown
    assert KEY.name in shown
    found = json.loads(grown("audit", "show", "2", "-o", "json", **env).stdout)
    assert found["verified"] is True
    assert found["proof"]["leaf"] == 1
    grown("audit", "show", "99", code=3, **env)


def test_show_says_what_does_not_fit(grown: Sds, running: Running, tmp_path: Path) -> None:
    env = {"SDS_AUDIT_STATE_FILE": str(tmp_path / "state")}
    ledger = running.fakes.ledger
    inclusion = ledger.inclusion

    async def lying(sequence: int) -> object:
        return await inclusion(sequence % 5 + 1)

    ledger.inclusion = lying  # type: ignore[method-assign]
    grown("audit", "show", "2", code=10, **env)


def test_an_event_that_was_altered_is_shown_as_that(grown: Sds, running: Running, tmp_path: Path) -> None:
    running.fakes.audit.altered.add(2)
    found = {one["sequence"]: one for one in json.loads(grown("audit", "search", "-o", "json").stdout)["events"]}
    assert found[2]["unreadable"] is True
    assert not found[3]["unreadable"]
    table = grown("audit", "search").stdout
    assert "audit.unreadable" in table
    assert "1970" not in table
    followed = grown("audit", "tail", "--lines", "1000").stdout
    assert "unreadable: the bytes are no event (sds audit verify)" in followed
    assert "token.create" in followed
    shown = grown("audit", "show", "2", code=10, SDS_AUDIT_STATE_FILE=str(tmp_path / "state"))
    assert "Unreadable  the bytes are no event" in shown.stdout
    assert "altered" in shown.stderr


def test_verify_remembers(grown: Sds, state: Path) -> None:
    first = verify(grown, state)
    assert first["ok"]
    assert first["first_use"]
    assert first["problems"] == []
    assert state.stat().st_mode & 0o777 == 0o600
    kept = json.loads(state.read_text())["logs"]
    (remembered,) = kept.values()
    assert remembered["keys"] == [KEY.text]
    grown("token", "create", "--spiffe-id", "spiffe://example.org/more")
    second = verify(grown, state)
    assert second["ok"]
    assert not second["first_use"]
    assert second["size"] > first["size"]
    assert json.loads(state.read_text())["logs"] != kept
    assert "is what was signed" in grown("audit", "verify", "--state", str(state)).stdout


def test_verify_sees_a_cut_and_another_past(grown: Sds, running: Running, state: Path) -> None:
    verify(grown, state)
    before = state.read_text()
    rows = running.fakes.audit.rows
    whole = list(rows)
    del rows[3:]
    found = verify(grown, state, code=10)
    assert "cut" in {one["kind"] for one in found["problems"]}
    assert state.read_text() == before, "what is wrong is not remembered"
    rows[:] = whole
    rows[1] = rows[0].__class__(2, rows[0].event)
    found = verify(grown, state, code=10)
    assert "checkpoint" in {one["kind"] for one in found["problems"]}
    assert "CHECKPOINT" in grown("audit", "verify", "--state", str(state), code=10).stdout.upper()


def test_verify_with_a_checkpoint_from_elsewhere(grown: Sds, running: Running, state: Path, tmp_path: Path) -> None:
    note = grown("audit", "checkpoint").stdout
    kept = tmp_path / "note"
    kept.write_text(note)
    assert verify(grown, state, "--no-state", "--checkpoint", str(kept), "--key", KEY.text)["ok"]
    assert not state.exists()
    del running.fakes.audit.rows[2:]
    assert not verify(grown, state, "--no-state", "--checkpoint", str(kept), code=10)["ok"]
    kept.write_text("no note")
    grown("audit", "verify", "--checkpoint", str(kept), code=2)
    grown("audit", "verify", "--key", "nonsense", code=2)


def test_a_log_of_another_key(grown: Sds, state: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    from sds.audit.note import VerifierKey  # noqa: PLC0415

    other = VerifierKey(KEY.name, Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    found = verify(grown, state, "--key", other.text, code=10)
    assert {"key", "checkpoint"} <= {one["kind"] for one in found["problems"]}


def test_offline(grown: Sds, state: Path, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    grown("audit", "export", "--file", str(file))
    assert verify(grown, state, "--export", str(file), "--key", KEY.text)["ok"]
    head, *body = file.read_bytes().splitlines()
    third = parse_line(body[2])
    evil = (third.canonical or b"").replace(b"token.create", b"token.cremate")
    body[2] = leaf_line(third.number, third.sequence, evil, third.stored)[:-1]
    file.write_bytes(b"\n".join([head, *body]) + b"\n")
    found = verify(grown, state, "--export", str(file), code=10)
    assert [(one["kind"], one["leaf"], one["sequence"]) for one in found["problems"]] == [("altered", 2, 3)]
    body[2] = leaf_line(third.number, third.sequence, evil, leaf_hash(evil))[:-1]
    file.write_bytes(b"\n".join([head, *body]) + b"\n")
    assert verify(grown, state, "--export", str(file), code=10)["problems"][0]["kind"] == "checkpoint"
    file.write_bytes(b"\n".join([head, *body]))
    grown("audit", "verify", "--export", str(file), code=10)
    file.write_bytes(b"nonsense\n")
    grown("audit", "verify", "--export", str(file), code=10)
    grown("audit", "verify", "--export", str(tmp_path / "none"), code=2)
    grown("audit", "export", "--action", "token.create", "--file", str(file))
    grown("audit", "verify", "--export", str(file), code=10)


def test_a_state_file_that_was_altered_is_not_believed(grown: Sds, state: Path) -> None:
    verify(grown, state)
    for content in ("", "{}", '{"version":1,"logs":[]}', '{"version":1,"logs":{"x":1}}'):
        state.write_text(content)
        grown("audit", "verify", "--state", str(state), code=1)


def test_keys_and_prune(grown: Sds, running: Running) -> None:
    assert KEY.text in grown("audit", "keys").stdout
    assert json.loads(grown("audit", "keys", "-o", "json").stdout)["keys"][0]["current"] is True
    grown("audit", "rekey", "--yes")
    assert running.fakes.ledger.rotations == 1
    assert "would go with --yes" in grown("audit", "prune", "--before", "1h").stdout
    assert json.loads(grown("audit", "prune", "--before", "1h", "--yes", "-o", "json").stdout)["dry_run"] is False
    grown("audit", "prune", "--before", "2999-01-01T00:00:00Z", code=1)

"""The other nouns: token, bundle, kek, audit."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ca.bundle import parse_pem, parse_spiffe_json
from sds.admin.services import AdminCall, local_caller
from sds.cli.audit.following import print_events
from sds.cli.options import Format
from sds.client.audit import EventPage
from sds.client.results import read
from tests.fakes.admin_entries import TD
from tests.fakes.admin_server import AUTHORITY, Running
from tests.unit.cli.conftest import Sds

# --------------------------------------------------------------------------------------------------------------- token


def test_token_has_exactly_the_promised_keys(sds: Sds) -> None:
    token = sds.json("token", "create", "--ttl", "10m", "--spiffe-id", "spiffe://example.org/agents/a")
    assert list(token) == ["token", "spiffe_id", "expires_at"]
    assert token["token"] == "the-secret-token-1"
    assert token["spiffe_id"] == "spiffe://example.org/agents/a"
    assert token["expires_at"].endswith("Z")


def test_a_token_is_for_a_downstream_server_only_when_asked(sds: Sds, running: Running) -> None:
    for arguments in ((), ("--downstream",)):
        sds.json("token", "create", *arguments)
    assert running.fakes.tokens.downstream == [False, True]


def test_token_table_shows_it_once(sds: Sds) -> None:
    text = sds("token", "create").stdout
    assert text.count("the-secret-token-1") == 1
    assert text.splitlines()[0] == "Token       the-secret-token-1"


@pytest.mark.parametrize("stands", [False, True])
def test_token_file(sds: Sds, tmp_path: Path, stands: bool) -> None:
    path = tmp_path / "token"
    if stands:
        path.write_text("old")
        path.chmod(0o644)
    old_umask = os.umask(0)
    try:
        answer = sds.json("token", "create", "--token-file", str(path))
    finally:
        os.umask(old_umask)
    assert list(answer) == ["token_file", "spiffe_id", "expires_at"]
    assert path.read_text() == "the-secret-token-1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert "the-secret-token" not in sds("token", "create", "--token-file", str(path)).output


def test_no_token_is_made_if_its_file_cannot_be_written(sds: Sds, running: Running, tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "token", tmp_path):
        sds("token", "create", "--token-file", str(path), code=2)
    assert running.fakes.audit.rows == []


@pytest.mark.parametrize("ttl", ["", "soon", "-1s", "10x", "nan"])
def test_a_ttl_that_is_none(sds: Sds, running: Running, ttl: str) -> None:
    sds("token", "create", "--ttl", ttl, code=2)
    assert running.fakes.audit.rows == []


def test_a_ttl_that_the_server_refuses(sds: Sds) -> None:
    result = sds("token", "create", "--ttl", "30d", code=1)
    assert result.stderr.splitlines() == [
        "Error: the request has 1 problem",
        "  ttl_seconds: must be from 1s to 1d",
    ]


def test_verbose_does_not_show_the_token(sds: Sds) -> None:
    result = sds("token", "create", "--verbose")
    assert result.stderr.startswith("POST /v1/tokens: 201 in ")
    assert "the-secret-token" not in result.stderr


# -------------------------------------------------------------------------------------------------------------- bundle


def test_bundle(sds: Sds) -> None:
    assert parse_pem(TD, sds("bundle", "show").stdout.encode()).x509_authorities == (AUTHORITY,)
    assert parse_pem(TD, sds("bundle", "show", "--format", "pem").stdout.encode()).x509_authorities == (AUTHORITY,)
    spiffe = sds("bundle", "show", "--format", "spiffe").stdout.encode()
    assert parse_spiffe_json(TD, spiffe).x509_authorities == (AUTHORITY,)
    sds("bundle", "show", "--format", "der", code=2)


# ----------------------------------------------------------------------------------------------------------- kek, audit


def test_kek(sds: Sds) -> None:
    assert "Wrapped 3 keys under 00000002 instead of 00000001." in sds("kek", "rotate").stdout
    assert sds.json("kek", "rotate") == {
        "old_id": "00000002",
        "new_id": "00000003",
        "rewrapped": 3,
        "shared": False,
        "dry_run": False,
    }
    assert "Would wrap 3 keys under a new key instead of 00000003." in sds("kek", "rotate", "--dry-run").stdout
    assert sds.json("kek", "rotate", "--dry-run")["dry_run"] is True
    assert sds.json("kek", "rotate")["old_id"] == "00000003"


def page(event: dict[str, Any]) -> EventPage:
    return read(EventPage, {"events": [event], "last_sequence": event["sequence"]})


def test_who_was_refused_without_a_name_is_told_by_address(capsys: pytest.CaptureFixture[str]) -> None:
    actor = {"kind": "agent", "id": "", "address": "192.0.2.7"}
    event = {
        "sequence": 7, "id": "e", "time": "2030-01-01T00:00:00Z", "action": "agent.attest", "outcome": "refused",
        "actor": actor, "target": {"kind": "agent", "id": ""}, "reason": "used", "request_id": "", "node": "", "details": {},
    }  # fmt: skip
    assert print_events(page(event), Format.TABLE) == 7
    assert "by agent:192.0.2.7  used" in capsys.readouterr().out
    event["reason"] = "x" * 1024
    print_events(page(event), Format.TABLE)
    assert f"  {'x' * 79}\N{HORIZONTAL ELLIPSIS}\n" in capsys.readouterr().out
    print_events(page(event), Format.JSON)
    assert json.loads(capsys.readouterr().out)["reason"] == "x" * 1024


def test_audit_tail(sds: Sds, running: Running) -> None:
    call = AdminCall(local_caller(0, 0, "root"), "request-0001")
    for _ in range(30):
        running.do(lambda: running.fakes.kek.rotate(call))
    sds("agent", "ban", "nonsense", code=1)
    lines = sds("audit", "tail").stdout.splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(12, 32))
    assert lines[-1].split()[2:6] == ["refused", "agent.ban", "agent:", "by"]
    events = [json.loads(line) for line in sds("audit", "tail", "-n", "2", "--output", "json").stdout.splitlines()]
    assert [each["sequence"] for each in events] == [30, 31]
    after = sds("audit", "tail", "--after", "5", "--output", "json").stdout.splitlines()
    assert [json.loads(line)["sequence"] for line in after] == list(range(6, 32))
    assert len(sds("audit", "tail", "--outcome", "refused").stdout.splitlines()) == 1
    assert sds("audit", "tail", "--action", "token.create").stdout == ""

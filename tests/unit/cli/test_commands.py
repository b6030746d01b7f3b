"""The other nouns: token, bundle, agent, kek, audit, version; and what every command does with a socket that fails."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from socketserver import StreamRequestHandler, UnixStreamServer
from threading import Thread
from typing import Any

import pytest

from attestation.selector import parse_selectors
from attestation.spiffe_id import SpiffeId
from ca.bundle import parse_pem, parse_spiffe_json
from sds.admin.services import AdminCall, AgentInfo, ProcessInfo, StreamInfo, local_caller
from sds.cli.audit.following import print_events
from sds.cli.options import Format
from sds.client.audit import EventPage
from sds.client.results import read
from sds.clock import SystemClock
from sds.store.errors import Reason, StoreUnavailable
from sds.store.records import ResourceRecord
from tests.fakes.admin_server import AUTHORITY, Running
from tests.fakes.admin_services import TD
from tests.unit.cli.conftest import Sds

AGENT = SpiffeId.parse("spiffe://example.org/sds/agent/one")


@pytest.fixture
def agent(running: Running) -> AgentInfo:
    now = SystemClock().now()
    info = AgentInfo(
        spiffe_id=AGENT,
        attestation_type="join_token",
        selectors=parse_selectors(["join_token:x"]),
        serial="0a1b",
        not_after=now + timedelta(hours=23, minutes=30),
        attested_at=now - timedelta(days=3),
        last_seen=now - timedelta(seconds=2),
        connected=True,
        entries=2,
        streams=1,
    )
    running.fakes.agents.rows[AGENT] = info
    return info


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


# -------------------------------------------------------------------------------------------------------------- agents


def test_agent_list(sds: Sds, agent: AgentInfo) -> None:
    lines = sds("agent", "list").stdout.splitlines()
    assert lines[1].startswith(f"{AGENT}   connected   join_token    in 23h29m (")
    assert "2s ago (" in lines[1]
    assert [each["spiffe_id"] for each in sds.json("agent", "list")["agents"]] == [str(agent.spiffe_id)]
    assert sds.json("agent", "list", "--banned") == {"agents": []}
    assert len(sds.json("agent", "list", "--not-banned")["agents"]) == 1


def test_no_agents(sds: Sds) -> None:
    result = sds("agent", "list")
    assert (result.stdout, result.stderr) == (
        "",
        "There are no agents; `sds token create` makes a join token for one.\n",
    )


@pytest.mark.usefixtures("agent")
def test_agent_show_ban_delete(sds: Sds) -> None:
    assert sds.json("agent", "show", str(AGENT))["serial"] == "0a1b"
    assert "State         connected\n" in sds("agent", "show", str(AGENT)).stdout
    banned = sds("agent", "ban", str(AGENT), "--reason", "stolen").stdout
    assert "State         banned\n" in banned
    assert "Reason        stolen\n" in banned
    assert sds.json("agent", "list", "--banned")["agents"][0]["banned_reason"] == "stolen"
    text = sds("agent", "delete", str(AGENT)).stdout
    assert text.startswith(f"Deleted agent {AGENT}.")
    assert "2 entries still name it" in text
    for command in ("show", "ban", "delete"):
        sds("agent", command, str(AGENT), code=3)
        assert "a SPIFFE ID starts with" in sds("agent", command, "nonsense", code=1).stderr


def test_a_dry_run_of_a_ban_or_a_deletion_only_says(sds: Sds, agent: AgentInfo) -> None:
    for verb in ("ban", "delete"):
        text = sds("agent", verb, str(AGENT), "--dry-run").stdout
        assert text.startswith(f"Would         {verb} agent {AGENT}\n")
        assert text.endswith("This was a dry run: nothing was changed.\n")
        told = sds.json("agent", verb, str(AGENT), "--dry-run")
        assert (told["dry_run"], told["banned"]) == (True, False)
    assert len(sds.json("agent", "list", "--not-banned")["agents"]) == 1


def resource(name: str, sent: str = "", acked: str = "", nacked: str = "", detail: str = "") -> ResourceRecord:
    return ResourceRecord(name, sent, acked, nacked, detail, acked_serial="0b" if acked else "")


def test_streams(sds: Sds, running: Running) -> None:
    resources = (
        resource("default", "a" * 64, "a" * 64),
        resource("ROOTCA", "b", "a"),
        resource("bad", "c", "", "c", "no\x1b way"),
        resource("later"),
        resource("long", "d", "", "d", "x" * 1024),
    )
    now = SystemClock().now()
    one = StreamInfo(
        "s1", AGENT, "delta", ProcessInfo(7, 1000, "/usr/bin/envoy"), ("spiffe://example.org/w",), "", now, resources
    )
    two = StreamInfo("s2", AGENT, "sotw", ProcessInfo(8, 0, ""), (), "", now, ())
    running.fakes.streams.rows = [one, two]
    result = sds("agent", "streams")
    lines = [line.split("   ") for line in result.stdout.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[0] == ["AGENT", "PID", "UID", "PROCESS", "PROTOCOL", "RESOURCE", "STATE", "VERSION", "SERIAL", "SINCE"]
    assert [line[5:8] for line in cells[1:]] == [
        ["default", "acked", "a" * 12],
        ["ROOTCA", "sent", "b"],
        ["bad", "refused: no\\x1b way", "c"],
        ["later", "waiting", "-"],
        ["long", f"refused: {'x' * 79}\N{HORIZONTAL ELLIPSIS}", "d"],
        ["-", "silent", "-"],
    ]
    (found, _) = sds.json("agent", "streams")["streams"]
    assert found["resources"][-1]["nack_detail"] == "x" * 1024
    assert len(sds.json("agent", "streams", "--spiffe-id", "spiffe://example.org/w")["streams"]) == 1
    running.fakes.streams.rows = []
    assert sds("agent", "streams").stderr == "There are no streams.\n"


# ----------------------------------------------------------------------------------------------------------- kek, audit


def test_kek(sds: Sds) -> None:
    assert "Wrapped 3 keys under 00000002 instead of 00000001." in sds("kek", "rotate").stdout
    assert sds.json("kek", "rotate") == {
        "old_id": "00000002",
        "new_id": "00000003",
        "rewrapped": 3,
        "shared": False,
    }


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


# ------------------------------------------------------------------------------------------------ sockets that fail


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("s")


COMMANDS = [
    ["entry", "list"],
    ["entry", "show", "x"],
    ["token", "create"],
    ["bundle", "show"],
    ["agent", "list"],
    ["agent", "streams"],
    ["agent", "status"],
    ["agent", "explain", "--pid", "1"],
    ["kek", "rotate"],
    ["audit", "tail"],
    ["audit", "tail", "--follow"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_socket(sds: Sds, folder: Path, command: list[str]) -> None:
    path = folder / "none.sock"
    result = sds(*command, "--admin-socket", str(path), code=5)
    assert result.stdout == ""
    assert f"Error: cannot reach {path}: there is no such socket" in result.stderr
    program = "sds agent run" if command[1] in ("status", "explain") else "sds server run"
    assert f"Is `{program}" in result.stderr
    assert "Traceback" not in result.stderr


def test_other_ways_not_to_be_reached(sds: Sds, folder: Path) -> None:
    plain = folder / "file"
    plain.write_text("")
    assert "nothing listens there" in sds("entry", "list", "--admin-socket", str(plain), code=5).stderr
    below = plain / "x.sock"
    assert "there is no such socket" in sds("entry", "list", "--admin-socket", str(below), code=5).stderr
    long = folder / ("x" * 200)
    assert "too long" in sds("entry", "list", "--admin-socket", str(long), code=5).stderr


def test_errors_as_json(sds: Sds, folder: Path) -> None:
    result = sds("entry", "list", "--output", "json", "--admin-socket", str(folder / "none"), code=5)
    problem = json.loads(result.stderr)
    assert problem["type"] == "urn:sds:problem:cli-unreachable"
    assert problem["exit_code"] == 5
    problem = json.loads(sds("entry", "show", "none", "--output", "json", code=3).stderr)
    assert problem["type"] == "urn:sds:problem:not-found"
    assert len(problem["request_id"]) == 32


def test_a_server_in_trouble(sds: Sds, running: Running) -> None:
    running.fakes.entries.fail = StoreUnavailable(Reason.FULL)
    assert "no space left" in sds("entry", "list", code=1).stderr
    running.fakes.entries.fail = RuntimeError("CANARY")
    result = sds("entry", "list", code=1)
    assert "something went wrong here" in result.stderr
    assert "CANARY" not in result.output


def test_a_refused_user(sds: Sds, running: Running) -> None:
    running.reset(allowed=frozenset())
    assert "may not use the admin API" in sds("entry", "list", code=1).stderr


@pytest.mark.parametrize("answer", [{"entries": 1}, {"entries": [{"id": 5}]}, {"entries": ["CANARY"]}, [], "CANARY"])
def test_an_answer_of_another_shape(sds: Sds, folder: Path, answer: Any) -> None:
    with served(folder / "odd.sock", json.dumps(answer).encode()) as path:
        result = sds("entry", "list", "--admin-socket", str(path), code=1)
    assert "CANARY" not in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("answer", [b"", b"CANARY", b"<html>CANARY</html>", b"[" * 10_000])
def test_something_else_at_the_socket(sds: Sds, folder: Path, answer: bytes) -> None:
    with served(folder / "odd.sock", answer) as path:
        result = sds("entry", "list", "--admin-socket", str(path), code=1)
    assert "is not the admin API" in result.stderr
    assert "CANARY" not in result.stderr
    with served(folder / "odd2.sock", answer, status=500) as path:
        assert "is not the admin API" in sds("entry", "list", "--admin-socket", str(path), code=1).stderr


STATUS = {
    "version": "0.1.0",
    "downstream": False,
    "started_at": "2026-01-01T00:00:00.000Z",
    "now": "2026-01-01T00:10:00.000Z",
    "agent": {
        "spiffe_id": str(AGENT), "serial": "0a", "not_after": "2026-01-02T00:00:00.000Z", "renew_at": None,
    },
    "server": {
        "address": "127.0.0.1:8443", "connected": False, "since": "2026-01-01T00:05:00.000Z",
        "problem": "it is away", "refused": False, "clock_skew_seconds": -0.25,
    },
    "bundle": {"trust_domain": "example.org", "sequence": 3, "x509_authorities": 2},
    "socket": "/run/sds/sds.sock",
    "synced": True, "entries": 4, "svids": 2, "streams": 1,
    "secrets": {"wanted": 3, "held": 2, "attention": [
        {"name": "db-password", "entry_id": "e-1", "spiffe_id": "spiffe://example.org/web", "state": "not_granted",
         "version": "", "not_after": None}], "attention_total": 1},
    "first_expiry": "2026-01-01T00:40:00.000Z", "outage_budget_seconds": 1800,
}  # fmt: skip
EXPLAINED = {
    "process": {"pid": 7, "uid": 1000, "gid": 5, "start_time": 1},
    "selectors": ["unix:gid:5", "unix:uid:1000"],
    "connected": True, "streams": 2, "synced": True,
    "matching": [
        {
            "entry_id": "e1", "entry_revision": 3, "spiffe_id": "spiffe://example.org/web", "serial": None,
            "not_after": None, "renew_at": None, "problem": "refused: no", "retry_at": None,
        }
    ],
    "near_misses": [{"entry_id": "e2", "spiffe_id": "spiffe://example.org/db", "missing": ["unix:uid:0"]}],
}  # fmt: skip


def test_agent_status(sds: Sds, folder: Path) -> None:
    with served(folder / "a.sock", json.dumps(STATUS).encode()) as path:
        text = sds("agent", "status", "--admin-socket", str(path)).stdout
        assert sds.json("agent", "status", "--admin-socket", str(path)) == STATUS
        assert sds.json("agent", "status", SDS_AGENT_ADMIN_SOCKET=str(path)) == STATUS
    for line in (
        "Server         127.0.0.1:8443, away since 5m ago (2026-01-01T00:05:00Z)\n               it is away\n",
        "Clock skew     -0.250s\n",
        "SVID renewed   -\n",
        "First expiry   in 30m (2026-01-01T00:40:00Z), if nothing renews from now\n",
        "Bundle         example.org, sequence 3, 2 authorities\n",
    ):
        assert line in text


def test_agent_explain(sds: Sds, folder: Path) -> None:
    ask = ("agent", "explain", "--pid", "7", "--admin-socket")
    with served(folder / "a.sock", json.dumps(EXPLAINED).encode()) as path:
        text = sds(*ask, str(path)).stdout
        assert sds.json(*ask, str(path)) == EXPLAINED
    assert "Connected  yes, 2 streams\n" in text
    assert "Selectors  unix:gid:5\n           unix:uid:1000\n" in text
    assert [line.split() for line in text.splitlines() if line.startswith("e")] == [
        ["e1", "3", "spiffe://example.org/web", "-", "-", "-", "refused:", "no"],
        ["e2", "spiffe://example.org/db", "unix:uid:0"],
    ]
    for synced, said in ((True, "the process gets nothing"), (False, "has not heard from its server yet")):
        nothing = {**EXPLAINED, "matching": [], "near_misses": [], "synced": synced}
        with served(folder / f"{synced}.sock", json.dumps(nothing).encode()) as path:
            assert said in sds(*ask, str(path)).stdout


def test_streams_of_an_agents_own_socket(sds: Sds, folder: Path) -> None:
    stream = {
        "id": "1", "protocol": "delta", "node_id": "n", "opened_at": "2026-01-01T00:00:00.000Z", "spiffe_ids": [],
        "process": {"pid": 7, "uid": 0, "path": "/envoy"}, "resources": [],
    }  # fmt: skip
    with served(folder / "a.sock", json.dumps({"streams": [stream], "next_cursor": None}).encode()) as path:
        lines = sds("agent", "streams", "--admin-socket", str(path)).stdout.splitlines()
    assert lines[0].split()[0] == "PID"
    assert lines[1].split()[:5] == ["7", "0", "/envoy", "delta", "-"]


def test_the_wrong_socket(sds: Sds) -> None:
    """A server's socket knows nothing of status; that is not the same as a process that is not there."""
    for command in (["status"], ["explain", "--pid", "1"]):
        result = sds("agent", *command, code=1)
        assert "does not know this call" in result.stderr
        assert "`sds agent run`" in result.stderr


def test_a_server_that_hangs_up(sds: Sds, folder: Path) -> None:
    with served(folder / "odd.sock", None) as path:
        assert "broke off" in sds("entry", "list", "--admin-socket", str(path), code=5).stderr


@contextmanager
def served(path: Path, body: bytes | None, status: int = 200) -> Iterator[Path]:
    """A server that answers everything the same; None: with nothing."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            asked = self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            if asked and body is not None:
                self.wfile.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)

    with UnixStreamServer(str(path), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield path
        finally:
            server.shutdown()
            thread.join(5)

"""sds agent: what the server knows of agents and streams, and what an agent says of itself at its own socket."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from attestation.selector import parse_selectors
from attestation.spiffe_id import SpiffeId
from sds.admin.services import AgentInfo, ProcessInfo, StreamInfo
from sds.clock import SystemClock
from sds.store.records import ResourceRecord
from tests.fakes.admin_server import Running
from tests.unit.cli.conftest import Sds
from tests.unit.cli.odd_server import served

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

"""sds certificate, explain, stats, and the filters of agent streams."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attestation.spiffe_id import SpiffeId
from sds.admin.services import ProcessInfo, StreamInfo
from sds.admin.services.certificates import CertificateInfo, CertificateState
from sds.cli.stats import _rate
from sds.clock import SystemClock
from sds.store.records import CertificateRecord, ProcessRecord, ResourceRecord
from tests.fakes.admin_server import AUTHORITY, Running
from tests.unit.cli.conftest import Sds

AGENT = SpiffeId.parse("spiffe://example.org/sds/agent/one")
Make = Callable[..., Any]


def certificate(number: int, now: datetime, *, ends: timedelta = timedelta(hours=1), **more: Any) -> CertificateInfo:
    record = CertificateRecord(
        serial=f"{number:02x}",
        spiffe_id=SpiffeId.parse(f"spiffe://example.org/team/web{number}"),
        key_hash=f"{number:064x}",
        profile="workload",
        authority_id="ab",
        not_before=now - timedelta(minutes=5),
        not_after=now + ends,
        requested_at=now - timedelta(minutes=number),
        entry_id="e1",
        entry_revision=3,
        agent_id=AGENT,
        process=ProcessRecord(7, 1000, "/usr/bin/envoy"),
        dns_names=("web.example.org",),
        der=b"x",
        issued_at=now - timedelta(minutes=number),
    )
    state = CertificateState.ACTIVE if ends > timedelta(0) else CertificateState.EXPIRED
    return CertificateInfo(record, state, **{"owner": "web team", "labels": {"env": "prod"}, **more})


@pytest.fixture
def rows(running: Running) -> list[CertificateInfo]:
    now = SystemClock().now()
    found = [
        certificate(1, now),
        certificate(2, now, ends=timedelta(minutes=10), owner="=cmd()"),
        certificate(3, now, ends=-timedelta(hours=1)),
    ]
    running.fakes.certificates.rows = found
    running.fakes.certificates.chains = {"01": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"}
    return found


# -------------------------------------------------------------------------------------------------------- certificate


def test_list(sds: Sds, rows: list[CertificateInfo]) -> None:
    lines = sds("certificate", "list").stdout.splitlines()
    assert lines[0].split() == ["SERIAL", "SPIFFE", "ID", "STATE", "ISSUED", "EXPIRES", "PROFILE", "AGENT", "OWNER"]
    assert [line.split()[0] for line in lines[1:]] == ["01", "02", "03"]
    assert "web team" in lines[1] and "active" in lines[1] and "expired" in lines[3]
    found = sds.json("certificate", "list")["certificates"]
    assert [each["serial"] for each in found] == ["01", "02", "03"]
    assert found[0]["process"] == {"pid": 7, "uid": 1000, "path": "/usr/bin/envoy"}


@pytest.mark.parametrize(
    ("given", "serials"),
    [
        (["--state", "expired"], ["03"]),
        (["--expires-within", "30m"], ["02"]),
        (["--owner", "web team", "--sort", "expires"], ["03", "01"]),
        (["--serial", "0:2"], ["02"]),
        (["--spiffe-id", "spiffe://example.org/team/web1"], ["01"]),
        (["--below", "spiffe://example.org/team"], ["01", "02", "03"]),
        (["--below", "spiffe://example.org/tea"], []),
        (["--label", "env=prod", "--limit", "1"], ["01"]),
        (["--label", "env=test"], []),
        (["--key", "0" * 63 + "3"], ["03"]),
        (["--entry", "e1", "--agent-id", str(AGENT), "--authority", "ab", "--profile", "workload"], ["01", "02", "03"]),
        (["--entry", "e2"], []),
        (["--issued-before", "2020-01-01T00:00:00Z"], []),
        (["--issued-after", "2020-01-01T00:00:00+01:00"], ["01", "02", "03"]),
    ],
)
def test_filters(sds: Sds, rows: list[CertificateInfo], given: list[str], serials: list[str]) -> None:
    assert [each["serial"] for each in sds.json("certificate", "list", *given)["certificates"]] == serials


def test_a_list_that_is_cut_says_so(sds: Sds, rows: list[CertificateInfo]) -> None:
    assert "--limit gives more" in sds("certificate", "list", "--limit", "2").stderr
    assert sds("certificate", "list", "--limit", "4").stderr == ""


@pytest.mark.parametrize(
    "given",
    [["--expires-within", "soon"], ["--issued-after", "yesterday"], ["--issued-after", "never"], ["--state", "fine"]],
)
def test_what_is_no_filter(sds: Sds, given: list[str]) -> None:
    sds("certificate", "list", *given, code=2)


def test_show(sds: Sds, running: Running, rows: list[CertificateInfo]) -> None:
    now = SystemClock().now()
    running.fakes.streams.rows = [
        StreamInfo(
            "s",
            AGENT,
            "delta",
            ProcessInfo(9, 0, "/bin/envoy"),
            (),
            "node-1",
            now,
            (ResourceRecord("a", sent_serial="01"),),
        )
    ]
    text = sds("certificate", "show", "01").stdout
    assert "SPIFFE ID     spiffe://example.org/team/web1" in text
    assert "Asked for by  pid 7, uid 1000, /usr/bin/envoy" in text
    assert "/bin/envoy" in text and "node-1" in text and "-----BEGIN CERTIFICATE-----" in text
    assert sds.json("certificate", "show", "0:1")["holders_total"] == 1
    assert "No live stream holds it now." in sds("certificate", "show", "02").stdout
    sds("certificate", "show", "ff", code=3)


def test_a_revoked_one_says_by_what(sds: Sds, running: Running, rows: list[CertificateInfo]) -> None:
    revoked = replace(
        rows[0],
        state=CertificateState.REVOKED,
        revoked_at=SystemClock().now(),
        revoked_reason="key-compromise",
        block_id="b7",
    )
    running.fakes.certificates.rows = [revoked]
    text = sds("certificate", "show", "01").stdout
    assert "key-compromise" in text and "Block         b7" in text


def test_find(sds: Sds, rows: list[CertificateInfo], tmp_path: Path) -> None:
    pem = sds("bundle", "show").stdout
    (tmp_path / "pem").write_text(f"around it\n{pem}")
    for words, stdin in ((["certificate", "find", str(tmp_path / "pem")], None), (["certificate", "find", "-"], pem)):
        done = sds(*words, code=3, stdin=stdin)
        assert "Certificate 1 of the file is not known here: serial 01" in done.stdout
    sds("certificate", "find", "-", code=1, stdin="nothing")
    sds("certificate", "find", str(tmp_path / "none"), code=2)
    assert AUTHORITY


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_export(sds: Sds, rows: list[CertificateInfo], tmp_path: Path, form: str) -> None:
    done = sds("certificate", "export", "--format", form)
    path = tmp_path / "out"
    written = sds("certificate", "export", "--format", form, "--file", str(path))
    assert (written.stdout, path.read_bytes()) == ("", done.stdout_bytes)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    lines = done.stdout.splitlines()
    if form == "jsonl":
        assert [json.loads(line)["serial"] for line in lines] == ["01", "02", "03"]
        assert "Wrote 3 lines" in written.stderr
    else:
        assert len(lines) == 4
        assert '"\'=cmd()"' in lines[2], "no spreadsheet program runs it"


def test_an_export_that_is_cut_leaves_no_file(
    sds: Sds, running: Running, rows: list[CertificateInfo], tmp_path: Path
) -> None:
    running.fakes.certificates.rows = rows * 2000
    running.fakes.certificates.fail_after = 2
    path = tmp_path / "out"
    path.write_text("as it was")
    sds("certificate", "export", "--file", str(path), code=5)
    assert path.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [path]
    sds("certificate", "export", "--file", str(tmp_path / "none" / "out"), code=2)


# ------------------------------------------------------------------------------------------------------------- explain


def test_explain(sds: Sds, make: Make) -> None:
    web = make("web")
    near = make("near", "--selector", "unix:path:/bin/near")
    parent = "spiffe://example.org/sds/agent/one"
    text = sds("explain", "--selector", "unix:uid:1000", "--parent", parent).stdout
    first, second = text.split("\n\n")
    assert web["id"] in first and near["id"] not in first
    assert near["id"] in second and "unix:path:/bin/near" in second
    found = sds.json("explain", "--selector", "unix:uid:1000")
    assert [each["id"] for each in found["matching"]] == [web["id"]]
    assert found["near"][0]["missing"] == ["unix:path:/bin/near"]
    other = sds("explain", "--selector", "unix:uid:1000", "--parent", f"{parent}x").stdout
    assert "No entry matches" in other and "another parent" in other
    sds("explain", code=2)
    sds("explain", "--selector", "nonsense", code=1)


# --------------------------------------------------------------------------------------------------------------- stats


def test_stats(sds: Sds, make: Make) -> None:
    make()
    text = sds("stats").stdout
    assert "Identities    " in text and "by 1 entries" in text
    assert sds.json("stats")["entries"] == 1


def test_the_hour_is_drawn() -> None:
    assert _rate((0, 7, 0, 14)) == "21 in the last hour ▁▄▁█"
    assert _rate(()) == _rate((0, 0)) == "0 in the last hour"


# ------------------------------------------------------------------------------------------------------- agent streams


def test_streams_are_filtered(sds: Sds, running: Running) -> None:
    now = SystemClock().now()
    good = (ResourceRecord("default", "a", "a", "", "", sent_at=now),)
    bad = (ResourceRecord("default", "b", "a", "b", "no", sent_at=now),)
    late = (ResourceRecord("ROOTCA", "c", "a", "", "", sent_at=now - timedelta(minutes=5)),)
    running.fakes.streams.rows = [
        StreamInfo(name, AGENT, protocol, ProcessInfo(1, 0, ""), (), node, now, resources, now)
        for name, protocol, node, resources in (
            ("good", "sotw", "n1", good),
            ("bad", "delta", "n2", bad),
            ("late", "ads-sotw", "n3", late),
        )
    ]

    def ids(*given: str) -> list[str]:
        return [each["id"] for each in sds.json("agent", "streams", *given)["streams"]]

    assert ids("--nacked") == ["bad"]
    assert ids("--not-nacked") == ["good", "late"]
    assert ids("--behind") == ["late"]
    assert ids("--not-behind", "--not-nacked") == ["good"]
    assert ids("--node-id", "n2") == ids("--protocol", "delta") == ["bad"]
    assert ids("--resource", "ROOTCA") == ["late"]
    assert ids("--sort", "-lag", "--limit", "1") == ["late"]
    sds("agent", "streams", "--protocol", "xds", code=2)

"""sds revoke and sds block."""

from __future__ import annotations

from datetime import timedelta

import pytest

from attestation.spiffe_id import SpiffeId
from sds.admin.services.revocations import BlastRadius, LostCertificate, OutOfReach, Unreached
from sds.clock import SystemClock
from sds.store.records import ProcessRecord, StreamRecord
from tests.fakes.admin_server import Running
from tests.unit.cli.conftest import Sds

AGENT = SpiffeId.parse("spiffe://example.org/sds/agent/one")
WEB = SpiffeId.parse("spiffe://example.org/web")


def stream(number: int, path: str) -> StreamRecord:
    process = ProcessRecord(number, 1000, path)
    return StreamRecord(AGENT, f"s{number}", "sotw", process, (str(WEB),), "n", SystemClock().now())


@pytest.fixture
def radius(running: Running) -> BlastRadius:
    soon = SystemClock().now() + timedelta(minutes=59)
    found = BlastRadius(
        certificates=31,
        fresh=30,
        listed=tuple(
            LostCertificate(f"{n:040x}", WEB, "workload", "aa", soon, AGENT, revoked=n == 1) for n in range(1, 32)
        ),
        identities=(str(WEB),),
        identities_total=1,
        entries=("e1",),
        entries_total=1,
        agents=(str(AGENT),),
        agents_total=1,
        owners=("team\x1b[31m",),
        streams=(stream(7, "/usr/bin/envoy"),),
        streams_total=1,
        unreached=(Unreached(stream(8, "/usr/bin/mosn"), OutOfReach.MOSN),),
        unreached_total=1,
        last_expiry=soon,
        notes=("connections that are open now live on",),
    )
    running.fakes.revocations.radius = found
    return found


def test_without_yes_it_is_a_dry_run_with_the_blast_radius(sds: Sds, running: Running, radius: BlastRadius) -> None:
    text = sds("revoke", "--spiffe-id", str(WEB), "--reason", "key-compromise", "--incident", "INC-7").stdout
    assert text.startswith("Would revoke")
    for expected in (
        "SPIFFE ID spiffe://example.org/web",
        "31, 30 of them newly; the last expires in 58m",
        "key-compromise",
        "INC-7",
        "/usr/bin/envoy",
        "/usr/bin/mosn",
        "mosn",
        "Note: connections that are open now live on.",
        "and 11 more",
        "nothing was changed. Repeat it with --yes",
    ):
        assert expected in text, expected
    assert "\x1b" not in text
    assert running.fakes.revocations.standing == {}


def test_with_yes_it_is_done(sds: Sds, running: Running) -> None:
    answer = sds.json("revoke", "--key", "AB" * 32, "--yes", "--reason", "superseded")
    assert answer["dry_run"] is False
    assert answer["block"]["value"] == "ab" * 32
    assert list(running.fakes.revocations.standing) == [answer["block"]["id"]]
    assert list(answer) == [
        "dry_run", "kind", "value", "reason", "incident", "blast_radius", "block", "problem",
    ]  # fmt: skip
    text = sds("revoke", "--key", "AB" * 32, "--yes").stdout
    assert text.startswith("Revoked")
    assert "dry run" not in text


@pytest.mark.parametrize("given", [(), ("--key", "ab", "--serial", "0a")])
def test_exactly_one_target_is_given(sds: Sds, given: tuple[str, ...]) -> None:
    refused = sds("revoke", *given, code=2)
    assert "exactly one" in " ".join(refused.stderr.replace("│", " ").split())


def test_what_the_server_refuses_is_told(sds: Sds) -> None:
    assert "reason: must be one of" in sds("revoke", "--key", "ab" * 32, "--reason", "boredom", code=1).stderr
    assert "value: is no key" in sds("revoke", "--key", "ab", code=1).stderr
    assert "no such certificate" in sds("revoke", "--serial", "0a", code=3).stderr


def test_blocks_are_listed_shown_and_lifted(sds: Sds, running: Running) -> None:
    assert "Nothing was ever revoked." in sds("block", "list").stderr
    running.fakes.revocations.certificates["0a0b"] = (WEB, SystemClock().now() + timedelta(hours=1))
    made = sds.json("revoke", "--spiffe-id", str(WEB), "--yes", "--incident", "INC-1")["block"]
    listed = sds("block", "list", "--standing").stdout
    assert made["id"] in listed
    assert "stands" in listed
    shown = sds("block", "show", made["id"]).stdout
    assert "0a0b" in shown
    assert "INC-1" in shown
    assert sds.json("block", "show", made["id"])["revocations"][0]["serial"] == "0a0b"
    text = sds("block", "lift", made["id"], "--yes").stdout
    assert "may be issued to again" in text
    assert "stay revoked" in text
    assert "lifted" in sds("block", "list", "--lifted", "--kind", "spiffe_id").stdout
    assert sds.json("block", "list", "--standing") == {"blocks": []}
    assert "no such block" in sds("block", "lift", "nothing", "--yes", code=3).stderr


def test_a_hold_is_given_back(sds: Sds, running: Running) -> None:
    running.fakes.revocations.certificates["0a0b"] = (WEB, SystemClock().now() + timedelta(hours=1))
    made = sds.json("revoke", "--serial", "0A:0B", "--yes", "--reason", "certificate-hold")["block"]
    assert "they are good again" in sds("block", "lift", made["id"], "--yes").stdout

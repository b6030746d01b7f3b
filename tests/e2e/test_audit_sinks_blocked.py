"""Receivers of the audit log that take nothing hold up nothing, and lose nothing."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sds.demo.traffic import normal_serial
from tests.contract.public.pki import WebPki
from tests.e2e.harness.audit_sinks import check_order, in_file, in_hook, leaves
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import Pair, World, traffic
from tests.e2e.harness.world import world as new_world
from tests.fakes.receivers import HttpReceiver, SyslogReceiver, http_receiver, syslog_receiver
from tests.fakes.small_disk import MountRefused, SmallDisk, small_disk

pytestmark = pytest.mark.e2e
KEY = "k" * 32


@dataclass
class Blocked:
    """Three receivers that take nothing: a webhook and a syslog server that accept and never answer, and a full disk."""

    hook: HttpReceiver
    syslog: SyslogReceiver
    disk: SmallDisk
    root: Path

    @property
    def sinks(self) -> dict[str, dict[str, str]]:
        tls = {"transport": "tls", "address": f"127.0.0.1:{self.syslog.port}", "ca_file": str(self.root)}
        return {
            "archive": {"kind": "file", "path": str(self.disk.folder / "audit.jsonl")},
            "logs": {"kind": "syslog", **tls},
            "siem": {"kind": "webhook", "url": self.hook.url, "signing_key_env": "SIEM_KEY"},
        }

    @property
    def settings(self) -> dict[str, str]:
        flat = {
            f"SDS_SERVER_AUDIT__SINKS__{name}__{key}".upper(): value
            for name, sink in self.sinks.items()
            for key, value in {**sink, "timeout": "1s", "backoff_max": "1s"}.items()
        }
        return {**flat, "SIEM_KEY": KEY}

    def unblock(self) -> None:
        self.hook.status = 200
        self.syslog.reading.set()
        self.disk.relieve()


@asynccontextmanager
async def blocked(folder: Path) -> AsyncIterator[Blocked]:
    pki = WebPki()
    root = folder / "root.pem"
    root.write_bytes(pki.root_pem)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*pki.issue().write(folder))
    try:
        with small_disk("2m") as disk, syslog_receiver("tls", tls=tls) as syslog:
            async with http_receiver() as hook:
                made = Blocked(hook, syslog, disk, root)
                hook.status = 0
                syslog.reading.clear()  # not even the handshake is answered
                disk.fill()
                yield made
    except MountRefused as refusal:
        pytest.skip(f"kernel: {refusal}")


async def rotated(world: World, pair: Pair, entries: list[dict[str, Any]], number: int) -> set[str]:
    """Both Envoys hold other certificates now. Answers their serials."""
    old = [await envoy.admin.serials() for envoy in (pair.front, pair.back)]
    for entry in entries:
        await world.rotate(entry, number)

    async def pushed() -> set[str]:
        new = [await envoy.admin.serials() for envoy in (pair.front, pair.back)]
        whole = all(now and not now & before for now, before in zip(new, old, strict=True))
        return set[str]().union(*new) if whole else set()

    return await eventually(pushed)


async def stand(world: World) -> dict[str, dict[str, Any]]:
    """Each sink as the API, the command line and the metrics agree that it stands."""
    shown = (await world.cli("audit", "sinks")).json["sinks"]
    told = (await world.stack.call("GET", "/v1/audit/sinks")).json()["sinks"]
    metrics = (await world.stack.call("GET", "/metrics")).text.splitlines()
    found = {sink["name"]: dict(sink) for sink in told}
    assert {sink["name"] for sink in shown} == set(found) == {"archive", "logs", "siem"}
    for sink in shown:
        found[sink["name"]]["cli_lag"] = sink["lag_events"]
    for name, sink in found.items():
        for metric in ("lag_events", "lag_seconds", "problem"):
            start = f'sds_server_audit_sink_{metric}{{sink="{name}"}} '
            sink[f"metric_{metric}"] = next(float(line[len(start) :]) for line in metrics if line.startswith(start))
    return found


async def test_sinks_that_are_blocked_never_block_issuance(tmp_path: Path) -> None:
    """Certificates are issued and rotated through real streams meanwhile; then each sink gets all of it, in order."""
    async with blocked(tmp_path) as receivers, new_world() as world:
        world.stack.server_env = receivers.settings
        await world.start()
        entries = [await world.entry("front"), await world.entry("back")]
        pair = await world.pair()
        serials = {one for envoy in (pair.front, pair.back) for one in await envoy.admin.serials()}
        async with traffic(pair.url) as tally:
            for number in range(5):
                serials |= await rotated(world, pair, entries, number)
        assert tally.requests > 0
        assert tally.failed == 0, list(tally.failures)
        assert len(serials) == 12  # of two Envoys: the first, and five more each

        async def lag_is_shown() -> bool:
            found = (await stand(world)).values()
            lags = ("lag_events", "lag_seconds", "cli_lag", "metric_lag_events", "metric_lag_seconds")
            return all(
                sink["problem"] and sink["metric_problem"] and all(sink[lag] > 0 for lag in lags) for sink in found
            )

        await eventually(lag_is_shown, every=0.3)
        assert "archive" in (await world.stack.call("GET", "/ready")).json()["checks"]["audit_sinks"]["reason"]
        assert (in_file(receivers.disk.folder), in_hook(receivers.hook), receivers.syslog.leaves()) == ([], [], [])
        serials |= await rotated(world, pair, entries, 9)  # not even now that it is known

        receivers.unblock()

        async def caught_up() -> bool:
            return all(not sink["problem"] and not sink["lag_events"] for sink in (await stand(world)).values())

        await eventually(caught_up, every=0.3)
        told_to_file = in_file(receivers.disk.folder)
        for found in (leaves(told_to_file), leaves(in_hook(receivers.hook)), receivers.syslog.leaves()):
            check_order(found)
            assert sorted(set(found)) == list(range(max(found) + 1))
            assert max(found) >= len(serials)
        events = [item["event"] for item in told_to_file if "event" in item]
        issued = {normal_serial(one["target"]["id"]) for one in events if one["action"] == "certificate.issue"}
        assert serials <= issued

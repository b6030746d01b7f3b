"""Revoked -> refused: how long until a real Envoy refuses the next handshake, with 1,000 other streams open.

`python -m benchmarks.revoke` starts a real server, agent and Envoy, and a load of simulated sidecars that all get every
new list. A client connects to the Envoy without pause; its certificate is revoked by serial over the admin API. The
time runs from the moment before that call until a handshake was refused; then the client gets its next certificate, and
it is done again. After that 10,000 certificates are revoked at once. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import tempfile
import time
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509

from attestation.spiffe_id import SpiffeId
from benchmarks.handshakes import Client, fetch
from benchmarks.lines import LineProcess
from benchmarks.machine import facts, percentile
from ca.serial import RandomSerials, serial_hex
from sds.audit.event import Actor, ActorKind, AuditEvent, Outcome, Target
from sds.clock import SystemClock
from sds.demo.envoy import Envoy, find_envoy, own_binary
from sds.demo.envoy_config import Back, SdsSource, back
from sds.demo.ports import free_ports
from sds.demo.stack import Stack
from sds.store.records import CertificateRecord
from sds.store.store import open_store
from sds.store.unit_of_work import UnitOfWork

PROBE, LOAD, SERVED, BULK = "bench/probe", "bench/load", "bench/back", "bench/bulk"
WITHIN = 30.0
SHARES = {"p50": 0.50, "p90": 0.90, "p99": 0.99, "max": 1.0}


class Scene:
    """Everything that runs. The client and the load are told apart by the names that they ask for."""

    def __init__(self, folder: Path, streams: int) -> None:
        self.folder = folder
        self.streams = streams
        self.stack = Stack(folder, agent_env={"SDS_AGENT_LIMITS__CONNECTION_BURST": str(2 * streams)})
        (self.port,) = free_ports(1)
        self.envoy: Envoy | None = None
        self._gone: set[str] = set()
        self.load: LineProcess | None = None

    async def start(self) -> None:
        await self.stack.start_server()
        await self.stack.start_agent()
        binary = own_binary(find_envoy(), self.folder / "bin" / "back")
        await self.stack.create_entry(SERVED, [f"unix:path:{binary}"])
        for path in (LOAD, PROBE):
            await self.stack.create_entry(
                path, [f"unix:uid:{os.getuid()}", f"unix:path:{Path(sys.executable).resolve()}"]
            )
        source = SdsSource(str(self.stack.sds_socket))
        config = back(Back("back", str(self.folder / "back.sock"), self.port, [self.stack.id(PROBE)], source))
        self.envoy = await Envoy.start(binary, config, self.folder, "back")
        await self.envoy.ready()
        if self.streams:
            names = f"{self.stack.id(LOAD)},ROOTCA"
            flags = ("--socket", str(self.stack.sds_socket), "--connections", str(self.streams // 2), "--names", names)
            self.load = LineProcess("benchmarks.sidecars", *flags)
            await self.load.start()
            json.loads(await self.load.line(180))
        await asyncio.sleep(2)

    async def client(self) -> tuple[Client, str]:
        """With the certificate that the agent holds for it now, and its serial; not one that was revoked."""
        async with asyncio.timeout(WITHIN):
            while True:
                held = await fetch(self.stack.sds_socket, self.stack.id(PROBE))
                leaf = x509.load_pem_x509_certificates(held.tls_certificate.certificate_chain.inline_bytes)[0]
                serial = serial_hex(leaf.serial_number)
                if serial not in self._gone:
                    return Client(held, await fetch(self.stack.sds_socket, "ROOTCA")), serial
                await asyncio.sleep(0.01)

    async def revoke(self, kind: str, value: str) -> dict[str, Any]:
        self._gone.add(value)
        body = {"kind": kind, "value": value, "reason": "key-compromise", "dry_run": False}
        answer: dict[str, Any] = (await self.stack.call("POST", "/v1/revocations", body)).json()
        if answer["problem"]:
            raise RuntimeError(answer["problem"])
        return answer

    async def metric(self, name: str) -> float:
        text = (await self.stack.call("GET", "/metrics")).text
        found = re.search(rf"^{name} ([0-9.e+-]+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def taken(self) -> float:
        """Bundles that the Envoy has taken so far."""
        assert self.envoy is not None
        return sum((await self.envoy.admin.stats("sds[.]ROOTCA[.]update_success")).values())

    async def stop(self) -> None:
        if self.load is not None:
            await self.load.stop()
        if self.envoy is not None:
            await self.envoy.stop()
        await self.stack.stop()


async def one_by_one(scene: Scene, rounds: int) -> dict[str, object]:
    """Each revocation makes a new list, and the last one's entries stay on it."""
    refused, answered = [], []
    for _ in range(rounds):
        client, serial = await scene.client()
        if not await asyncio.to_thread(client.served, scene.port):
            raise RuntimeError("a good certificate was refused")
        known = asyncio.create_task(client.refused_at(scene.port, WITHIN))
        await asyncio.sleep(0.05)
        start = time.monotonic()
        await scene.revoke("serial", serial)
        answered.append(time.monotonic() - start)
        refused.append(await known - start)
        await asyncio.sleep(0.2)
    return {"revocations": rounds, "refused_ms": _milliseconds(refused), "answered_ms": _milliseconds(answered)}


async def all_at_once(scene: Scene, count: int) -> dict[str, object]:
    """A list of `count` entries: made, taken by the Envoy, and no hindrance to those who are not on it."""
    await _records(scene, count)
    client, serial = await scene.client()
    lists, seconds = (
        await scene.metric("sds_server_crl_seconds_count"),
        await scene.metric("sds_server_crl_seconds_sum"),
    )
    before, start = await scene.taken(), time.monotonic()
    await scene.revoke("spiffe_id", scene.stack.id(BULK))
    answered = time.monotonic() - start
    async with asyncio.timeout(WITHIN):
        while await scene.taken() <= before:
            await asyncio.sleep(0.01)
    taken = time.monotonic() - start
    made = await scene.metric("sds_server_crl_seconds_count") - lists
    built = (await scene.metric("sds_server_crl_seconds_sum") - seconds) / made
    crl = (await fetch(scene.stack.sds_socket, "ROOTCA")).validation_context.crl.inline_bytes
    if not await asyncio.to_thread(client.served, scene.port):
        raise RuntimeError("a good certificate was refused")
    known = asyncio.create_task(client.refused_at(scene.port, WITHIN))
    start = time.monotonic()
    await scene.revoke("serial", serial)
    return {
        "entries": len(x509.load_pem_x509_crl(crl)),
        "pem_bytes": len(crl),
        "built_ms": round(built * 1e3, 1),
        "answered_ms": round(answered * 1e3, 1),
        "taken_ms": round(taken * 1e3, 1),
        "next_refused_ms": round((await known - start) * 1e3, 1),
    }


async def _records(scene: Scene, count: int) -> None:
    """Certificates of one identity, as if they had been issued over the last hour."""
    clock = SystemClock()
    now = clock.now().replace(microsecond=0)
    store = open_store(f"sqlite:///{scene.folder / 'server' / 'sds.sqlite3'}", clock=clock)
    try:
        authorities = await store.read(lambda uow: uow.authorities.all())
        authority = next(one.id for one in authorities if one.kind == "x509")
        records = [
            CertificateRecord(
                serial=serial_hex(serial),
                spiffe_id=SpiffeId.parse(scene.stack.id(BULK)),
                key_hash=sha256(str(serial).encode()).hexdigest(),
                profile="workload",
                authority_id=authority,
                not_before=now,
                not_after=now + timedelta(hours=1),
                requested_at=now,
            )
            for serial in RandomSerials(os.urandom).many(count)
        ]
        actor, target = Actor(ActorKind.SYSTEM, "benchmark"), Target("benchmark", "revoke")
        event = AuditEvent(os.urandom(16).hex(), now, "benchmark.fill", Outcome.SUCCESS, actor, target)

        def fill(uow: UnitOfWork) -> None:
            uow.certificates.add_intents(records)
            uow.audit.append(event)

        await store.write(fill)
    finally:
        await store.close()


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {name: round(percentile(ordered, share) * 1e3, 1) for name, share in SHARES.items()}


async def run(streams: int, rounds: int, entries: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="sdsb", dir="/tmp") as name:
        scene = Scene(Path(name), streams)
        try:
            await scene.start()
            single = await one_by_one(scene, rounds)
            return {
                "benchmark": "revoke",
                "streams": streams,
                **single,
                "crl": await all_at_once(scene, entries),
                "machine": facts(),
            }
        finally:
            await scene.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--entries", type=int, default=10_000)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(run(given.streams, given.rounds, given.entries)), indent=2))

"""kill -9 in the middle of issuing, under load: nothing exists without its record and event, and no serial twice."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from cryptography.x509 import load_der_x509_certificate

from ca.jws import parse
from ca.serial import serial_hex
from sds._pb.sds.node.v1 import node_pb2, node_pb2_grpc
from sds.audit.verify import ExportVerifier
from sds.clock import SystemClock
from sds.demo.ports import free_ports
from sds.demo.stack import Stack
from sds.server.audit.reader import LedgerReader
from sds.server.stages import Stage
from sds.store.records import AuditFilter
from sds.store.store import open_store
from tests.e2e.harness.dying_server import SERVE
from tests.e2e.harness.node import Credentials, join, new_csr, node_api
from tests.e2e.harness.world import World

pytestmark = pytest.mark.e2e

CALLERS = 4
QUICK_RETRY = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 50)]


@dataclass(slots=True)
class Mortal:
    """The harness's process, its data folder and what its callers were answered."""

    world: World
    process: asyncio.subprocess.Process
    answered: dict[str, bytes] = field(default_factory=dict)
    """DER by serial, of everything that ever left a server."""
    twice: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    """`jti` of every JWT-SVID that ever left a server."""

    async def line(self, within: float = 30.0) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), within)
        assert line, self.world.stack.folder.joinpath("server.log").read_text()[-3000:]
        return dict(json.loads(line))

    async def run(self, stage: str, hits: int = 0) -> dict[str, Any]:
        """A server that is ready and whose end is decided; the report of its end if it died of its own certificate."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{stage} {hits}\n".encode())
        await self.process.stdin.drain()
        return await self.line()

    async def end(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(b"stop\n")
        await self.process.stdin.drain()
        return await self.line()

    def took(self, chain: Sequence[bytes]) -> None:
        serial = serial_hex(load_der_x509_certificate(chain[0]).serial_number)
        if serial in self.answered:
            self.twice.append(serial)
        self.answered[serial] = chain[0]


@pytest.fixture
async def mortal() -> AsyncIterator[Mortal]:
    folder = Path(tempfile.mkdtemp(prefix="sds-", dir="/tmp"))
    stack = Stack(folder, ports=free_ports(2))
    with (folder / "server.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.e2e.harness.dying_server", str(folder), *map(str, stack.ports)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Mortal(World(folder, stack), process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def enrol(mortal: Mortal, entries: int) -> tuple[Credentials, list[str]]:
    """An agent and its entries, on a server that lives."""
    stack = mortal.world.stack
    await mortal.run(SERVE)
    (stack.folder / "bundle.pem").write_text((await stack.call("GET", "/v1/bundle?format=pem")).text)
    agent = await join(mortal.world)
    stack.agent_id = agent.spiffe_id
    made = [await stack.create_entry(f"w{number}", [f"unix:uid:{number}"]) for number in range(entries)]
    assert (await mortal.end())["ended"] == 0
    return agent, [entry["id"] for entry in made]


async def load(mortal: Mortal, node: node_pb2_grpc.NodeStub, entries: list[str], csrs: list[bytes]) -> None:
    """Ask for certificates without end, whatever becomes of the server, and for the agent's own now and then."""
    while True:
        items = [
            node_pb2.SignItem(entry_id=random.choice(entries), csr=random.choice(csrs))
            for _ in range(random.randint(1, 12))
        ]
        try:
            if random.random() < 0.1:
                renewed = await node.Renew(node_pb2.RenewRequest(csr=items[0].csr), timeout=5)
                mortal.took(renewed.svid.certificate_chain)
            answer = await node.SignX509Svids(node_pb2.SignX509SvidsRequest(items=items), timeout=5)
            wanted = [node_pb2.JwtItem(entry_id=item.entry_id, audience=["reports"]) for item in items]
            signed = await node.SignJwtSvids(node_pb2.SignJwtSvidsRequest(items=wanted), timeout=5)
            tokens = [result.svid.token for result in signed.results if result.HasField("svid")]
            mortal.tokens += [parse(token).unverified_claims["jti"] for token in tokens]
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.02)
            continue
        for result in answer.results:
            if result.HasField("svid"):
                mortal.took(result.svid.certificate_chain)


async def kill_often(mortal: Mortal, kills: int) -> dict[str, Any]:
    """Kill at each stage in turn, at a random hit of it; how often each was passed and killed at."""
    agent, entries = await enrol(mortal, 5)
    csrs = [new_csr()[1] for _ in range(20)]
    killed: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node_api(mortal.world, agent, QUICK_RETRY)) for _ in range(CALLERS)]
        callers = [asyncio.create_task(load(mortal, node, entries, csrs)) for node in nodes]
        try:
            for number in range(kills):
                stage = list(Stage)[number % len(Stage)]
                # The first passage is the server's own certificate, at its start.
                report = await mortal.run(stage, random.choice((1, 2, 3, 4, 6, 9, 14)))
                if "ready" in report:
                    report = await mortal.line()
                assert report["ended"] == -9
                killed[stage] += 1
            assert not any(caller.done() for caller in callers), [c.exception() for c in callers if c.done()]
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
    await mortal.run(SERVE)
    last = await mortal.end()
    assert last["ended"] == 0
    return {"killed": killed, "passed": last["passed"]}


def check(mortal: Mortal) -> tuple[int, int]:
    """The invariants, read from the database itself; how many certificates were meant, and how many recorded."""
    with closing(sqlite3.connect(mortal.world.folder / "server/sds.sqlite3")) as database:
        meant = [serial for (serial,) in database.execute("SELECT serial FROM certificates")]
        recorded = dict(
            database.execute("SELECT serial, der FROM certificates JOIN issued_certificates USING (number)").fetchall()
        )
        events = Counter(
            target
            for (target,) in database.execute(
                "SELECT target FROM audit_events WHERE action = 'certificate.issue' AND outcome = 'success'"
            )
        )
        audited = Counter(
            target
            for (target,) in database.execute(
                "SELECT target FROM audit_events WHERE action = 'token.issue' AND outcome = 'success'"
            )
        )
        (integrity,) = database.execute("PRAGMA integrity_check").fetchone()
    assert integrity == "ok"
    assert mortal.twice == []
    assert len(meant) == len(set(meant))
    assert {serial for serial, der in mortal.answered.items() if recorded.get(serial) != der} == set()
    assert set(meant) == set(events)
    assert set(events.values()) == {1}
    assert len(mortal.tokens) == len(set(mortal.tokens)) > 0
    assert set(mortal.tokens) <= set(audited)
    assert set(audited.values()) == {1}
    return len(meant), len(recorded)


async def check_tree(mortal: Mortal) -> None:
    """The audit log verifies from its first event on, and the server that ended in order has put all under it."""
    store = open_store(f"sqlite:///{mortal.world.folder}/server/sds.sqlite3", clock=SystemClock())
    try:
        verifier = ExportVerifier()
        async for piece in await LedgerReader(store).export("jsonl", AuditFilter()):
            for line in piece.splitlines():
                verifier.feed(line)
        verdict = verifier.verdict()
        assert verdict.ok, verdict.findings.problems
        assert await store.read(lambda uow: uow.audit_lines.unplaced(uow.audit.newest(), 10)) == ()
        assert verdict.events == await store.read(lambda uow: uow.audit.count())
    finally:
        await store.close()


@pytest.mark.timeout(300)
async def test_killed_at_every_stage_of_issuing(mortal: Mortal) -> None:
    report = await kill_often(mortal, 12)
    assert report["killed"] == dict.fromkeys(Stage, 4)
    meant, recorded = check(mortal)
    await check_tree(mortal)
    assert meant > recorded  # some died between the two, or nothing was shown


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_killed_500_times(mortal: Mortal) -> None:
    """All of them whatever the share: it takes a minute and a half."""
    kills = 500
    report = await kill_often(mortal, kills)
    assert sum(report["killed"].values()) == kills
    assert min(report["killed"].values()) >= kills // len(Stage)
    assert min(report["passed"].values()) > kills
    meant, recorded = check(mortal)
    await check_tree(mortal)
    assert meant > recorded > kills
    assert len(mortal.answered) > kills

"""Servers of one trust domain, one below the other, and what one sees of them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ca.bundle import parse_pem, to_pem
from ca.svid import X509Svid, parse_svid
from sds._pb.sds.node.v1 import node_pb2
from tests.contract.node.harness import AGENT, DEADLINE, SERVER_DNS, TD, Node, csr, running

BELOW = "spiffe://example.org/sds/agent/below"
SOON = {"ca.upstream.sds.backoff_min": "50ms", "ca.upstream.sds.backoff_max": "200ms"}


async def eventually(condition: Callable[[], Awaitable[Any]], seconds: float = DEADLINE) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.05)
        return found


async def downstream_token(upstream: Node, spiffe_id: str = BELOW, *, downstream: bool = True) -> str:
    body = {"ttl_seconds": 60, "spiffe_id": spiffe_id, "downstream": downstream}
    return str((await upstream.api("POST", "/v1/tokens", body))["token"])


@asynccontextmanager
async def below(upstream: Node, folder: Path, token: str = "", **settings: Any) -> AsyncIterator[Node]:
    """A server below `upstream`; without a token it is one that has enrolled before."""
    bundle, token_file = folder / "upstream.pem", folder / "token"
    bundle.write_bytes(upstream.roots)
    if token:
        token_file.touch(mode=0o600)
        token_file.write_text(token)
    ours = folder / "below"
    ours.mkdir(exist_ok=True)
    async with running(
        ours,
        **{
            "ca.upstream.plugin": "sds",
            "ca.upstream.sds.server": upstream.target("main"),
            "ca.upstream.sds.attest_server": upstream.target("attest"),
            "ca.upstream.sds.trust_bundle": str(bundle),
            "ca.upstream.sds.join_token_file": str(token_file),
            **SOON,
            **settings,
        },
    ) as started:
        yield started


async def issued(node: Node) -> X509Svid:
    """A workload's certificate from `node`, for an agent that has its bundle of now."""
    node.roots = (await node.admin.get("/v1/bundle", params={"format": "pem"})).content
    agent = await node.attest(AGENT)
    entry = await node.entry()
    item = node_pb2.SignItem(entry_id=entry["id"], csr=csr())
    answer = await node.node(agent).SignX509Svids(node_pb2.SignX509SvidsRequest(items=[item]), timeout=DEADLINE)
    return parse_svid(tuple(answer.results[0].svid.certificate_chain))


async def vouched(node: Node) -> bool:
    """Whether the certificate that it shows leads to its bundle."""
    pem = (await node.admin.get("/v1/bundle", params={"format": "pem"})).text

    def shake() -> bool:
        context = ssl.create_default_context(cadata=pem)
        host, _, port = node.target("attest").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=DEADLINE) as raw:
            try:
                context.wrap_socket(raw, server_hostname=SERVER_DNS).close()
            except ssl.SSLCertVerificationError:
                return False
            return True

    return await asyncio.to_thread(shake)


async def up(node: Node) -> bool:
    return await node.metric("sds_server_upstream_up", upstream="sds") == 1


async def prepared(node: Node) -> dict[str, Any]:
    return await node.api("POST", "/v1/authorities:prepare", {"kind": "x509"})


async def gate_open(node: Node, authority_id: str) -> bool:
    gate = (await node.api("GET", f"/v1/authorities/{authority_id}"))["gate"]
    return bool(gate["open"])


async def roots_of(node: Node) -> tuple[bytes, ...]:
    pem = (await node.admin.get("/v1/bundle", params={"format": "pem"})).content
    return parse_pem(TD, pem).x509_authorities


def lower_pem(roots: tuple[bytes, ...]) -> bytes:
    return b"".join(map(to_pem, roots))


async def down(node: Node) -> bool:
    return not await up(node)

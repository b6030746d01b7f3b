"""The listeners: TLS that rotates under them, who may connect and how often, health, and manners when ending."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from sds._pb.sds.node.v1 import node_pb2
from sds.server.datadir import DataDirUnusable
from tests.contract.node.harness import AGENT, DEADLINE, Node, csr, next_message, running, status_of


def presented(node: Node, name: str) -> x509.Certificate:
    """What the server shows now. Blocks."""
    context = ssl.create_default_context(cadata=node.roots.decode())
    context.check_hostname = True
    host, _, port = node.target(name).rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=DEADLINE) as raw,
        context.wrap_socket(raw, server_hostname="server.sds.internal") as tls,
    ):
        der = tls.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der)


async def test_the_server_shows_its_own_svid(node: Node) -> None:
    shown = await asyncio.to_thread(presented, node, "attest")
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example.org/sds/server"]
    assert names.get_values_for_type(x509.DNSName) == ["server.sds.internal"]
    issued = [e for e in await node.events("certificate.issue") if e["details"]["profile"] == "server"]
    assert len(issued) == 1
    assert issued[0]["actor"] == {"kind": "system", "id": "sds-server", "address": ""}


async def test_its_certificate_is_renewed_without_a_restart() -> None:
    async with running(ca__server_ttl="6s") as node:
        agent = await node.attest()
        stub = node.node(agent)
        stream = stub.WatchAuthorized(node_pb2.WatchAuthorizedRequest())
        await next_message(stream)
        before = await asyncio.to_thread(presented, node, "attest")
        async with asyncio.timeout(8):
            while (after := await asyncio.to_thread(presented, node, "attest")).serial_number == before.serial_number:
                await asyncio.sleep(0.1)
        assert after.public_key() != before.public_key()
        assert after.not_valid_after_utc > before.not_valid_after_utc
        await node.entry()
        assert (await next_message(stream)).upserted  # the old connection lives on
        await node.node(agent).Renew(node_pb2.RenewRequest(csr=csr()))  # and a new one is made by the new certificate


@pytest.mark.parametrize(("version", "allowed"), [("1.0", False), ("1.1", False), ("1.2", True), ("1.3", True)])
async def test_only_tls_1_2_and_1_3(node: Node, version: str, *, allowed: bool) -> None:
    def shake() -> str | None:
        context = ssl.create_default_context(cadata=node.roots.decode())
        wanted = ssl.TLSVersion[f"TLSv{version.replace('.', '_')}".replace("TLSv1_0", "TLSv1")]
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = wanted
        context.set_alpn_protocols(["h2"])
        host, _, port = node.target("attest").rpartition(":")
        with (
            socket.create_connection((host, int(port)), timeout=DEADLINE) as raw,
            context.wrap_socket(raw, server_hostname="server.sds.internal") as tls,
        ):
            return tls.version()

    if allowed:
        assert await asyncio.to_thread(shake) == f"TLSv{version}"
    else:
        with pytest.warns(DeprecationWarning), pytest.raises(ssl.SSLError):
            await asyncio.to_thread(shake)


async def test_health_on_both_listeners_and_no_reflection(node: Node) -> None:
    agent = await node.attest()
    for channel, service in (
        (node.channel(agent), "sds.node.v1.Node"),
        (node.channel(), "sds.node.v1.NodeAttestation"),
    ):
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", service):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        code, _ = await status_of(health.Check(health_pb2.HealthCheckRequest(service="nothing")))
        assert code is grpc.StatusCode.NOT_FOUND
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        code, _ = await status_of(_reflect(stub))
        assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_health_watches_are_told_of_the_end_and_do_not_hold_it_up() -> None:
    async with running(grpc__drain_timeout="60s") as node:
        agent = await node.attest()
        request = health_pb2.HealthCheckRequest(service="")
        watches = [
            health_pb2_grpc.HealthStub(channel).Watch(request)
            for channel in (node.channel(agent), node.channel(agent), node.channel())
        ]
        for watch in watches:
            assert (await next_message(watch)).status == health_pb2.HealthCheckResponse.SERVING
        watches.pop().cancel()  # one that has gone before
        async with asyncio.timeout(10):
            await node.server.stop()
        for watch in watches:
            assert (await next_message(watch)).status == health_pb2.HealthCheckResponse.NOT_SERVING
            code, _ = await status_of(watch.read())
            assert code is grpc.StatusCode.UNAVAILABLE


async def test_reflection_when_configured() -> None:
    async with running(grpc__reflection="true") as node:
        stub = reflection_pb2_grpc.ServerReflectionStub(node.channel())
        answer = await _reflect(stub)
        names = {service.name for service in answer.list_services_response.service}
        assert "sds.node.v1.NodeAttestation" in names
        assert "sds.node.v1.Node" not in names


async def _reflect(stub: reflection_pb2_grpc.ServerReflectionStub) -> Any:
    def ask() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    return await stub.ServerReflectionInfo(ask()).read()


async def test_new_connections_are_limited_by_address() -> None:
    async with running(limits__connection_rate="0.01", limits__connection_burst="3") as node:
        readers = []
        for _ in range(5):
            host, _, port = node.target("attest").rpartition(":")
            readers.append(await asyncio.open_connection(host, int(port)))
        refused = {"listener": "attest", "reason": "rate"}
        async with asyncio.timeout(DEADLINE):
            while await node.metric("sds_server_connections_refused_total", **refused) < 2:
                await asyncio.sleep(0.02)
        assert await node.metric("sds_server_connections_refused_total", **refused) == 2
        assert await node.metric("sds_server_connections", listener="attest") == 3
        for _, writer in readers:
            writer.close()


async def test_open_connections_are_limited_by_address() -> None:
    async with running(limits__max_connections_per_address="2") as node:
        agent = await node.attest()
        for _ in range(2):
            await next_message(node.node(agent).WatchAuthorized(node_pb2.WatchAuthorizedRequest()))
        code, _ = await status_of(node.node(agent).Renew(node_pb2.RenewRequest(csr=csr()), timeout=DEADLINE))
        assert code is grpc.StatusCode.UNAVAILABLE
        refused = await node.metric("sds_server_connections_refused_total", listener="main", reason="per_peer")
        assert refused >= 1


async def test_who_says_nothing_is_sent_away() -> None:
    async with running(limits__handshake_timeout="1s") as node:
        host, _, port = node.target("main").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


async def test_rubbish_instead_of_tls_hurts_nobody(node: Node) -> None:
    host, _, port = node.target("attest").rpartition(":")
    for rubbish in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + b"\xff" * 1000, b"\0" * 100_000):
        _reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(rubbish)
        writer.close()
    assert (await node.attest_request()).svid.spiffe_id == AGENT


async def test_ready_live_and_metrics(node: Node) -> None:
    ready = await node.admin.get("/ready")
    assert ready.status_code == 200, ready.text
    assert set(ready.json()["checks"]) == {
        *("serving", "store", "authority", "certificate", "key_manager", "audit"),
    }
    assert (await node.admin.get("/live")).status_code == 200
    metrics = (await node.admin.get("/metrics")).text
    assert "sds_server_authority_expiry_timestamp_seconds{" in metrics
    node.clock.offset = timedelta(days=400)
    ready = await node.admin.get("/ready")
    assert ready.status_code == 503
    assert "is valid only from" in ready.json()["checks"]["authority"]["reason"]


async def test_the_probes_have_a_listener_of_their_own_when_configured() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with running(health__listen=f"127.0.0.1:{port}"), httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/ready")).status_code == 200
        assert (await client.get(f"http://127.0.0.1:{port}/metrics")).status_code == 200
        assert (await client.get(f"http://127.0.0.1:{port}/v1/entries")).status_code == 404


async def test_nothing_of_a_run_is_left_behind(folder: Path) -> None:
    async with running(folder) as node:
        await node.attest()
        assert any(folder.glob("s/grpc-*"))
        modes = {path.name: path.stat().st_mode & 0o777 for path in (folder / "s").iterdir()}
        assert modes["kek"] == modes["sds.sqlite3"] == modes["admin.sock"] == 0o600
        assert (folder / "s").stat().st_mode & 0o777 == 0o700
    assert not any(folder.glob("s/grpc-*"))
    assert not (folder / "s/admin.sock").exists()


async def test_a_second_server_on_the_same_folder_is_refused(folder: Path) -> None:
    async with running(folder):
        with pytest.raises(DataDirUnusable, match="another server runs"):
            async with running(folder):
                pass

"""The whole agent as `sds agent run` builds it, against a small real server; sidecars come over the public socket."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3 import discovery_pb2

from ca.keys import KeyType
from sds.agent.agent import Agent
from sds.agent.datadir import DataFolder
from sds.agent.errors import CannotStart, IdentityUnusable
from sds.agent.wiring.build import build
from sds.clock import SystemClock
from sds.config import load_agent_config
from sds.net.errors import AddressUnusable
from tests.fakes.containers import in_container
from tests.fakes.node_server import AGENT_ID, TOKEN, FakeNodeServer
from tests.fakes.wait import PATIENCE

TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
ME = f"unix:uid:{os.getuid()}"
KINDS = {
    KeyType.ECDSA_P256: EllipticCurvePrivateKey,
    KeyType.ECDSA_P384: EllipticCurvePrivateKey,
    KeyType.ED25519: Ed25519PrivateKey,
    KeyType.RSA_2048: RSAPrivateKey,
}
SIZES = {KeyType.ECDSA_P256: 256, KeyType.ECDSA_P384: 384, KeyType.RSA_2048: 2048}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="a-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


class Sidecar:
    """A state-of-the-world client."""

    def __init__(self, socket: Path) -> None:
        self.channel = grpc.aio.insecure_channel(f"unix:{socket}", options=[("grpc.use_local_subchannel_pool", 1)])
        method = self.channel.stream_stream(
            "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=discovery_pb2.DiscoveryResponse.FromString,
        )
        self.call = method()

    async def ask(self, *names: str, last: Any = None) -> None:
        request = discovery_pb2.DiscoveryRequest(type_url=TYPE, resource_names=names)
        if last is not None:
            request.version_info, request.response_nonce = last.version_info, last.nonce
        await self.call.write(request)

    async def get(self, *names: str) -> Any:
        """The next answer, ACKed."""
        async with asyncio.timeout(PATIENCE):
            answer = await self.call.read()
        assert answer is not grpc.aio.EOF
        await self.ask(*names, last=answer)
        return answer

    async def close(self) -> None:
        self.call.cancel()
        await self.channel.close()


class World:
    def __init__(self, server: FakeNodeServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.socket = folder / "sds.sock"
        self.data = folder / "agent"
        (folder / "bundle").write_bytes(server.bundle.pem())
        (folder / "token").write_text(TOKEN)

    async def build(self, **flags: object) -> Agent:
        given: dict[str, object] = {
            "server": self.server.address,
            "attest_server": self.server.attest_address,
            "trust_bundle": str(self.folder / "bundle"),
            "join_token_file": str(self.folder / "token"),
            "data_dir": str(self.data),
            "socket": str(self.socket),
            "drain_timeout": "200ms",
            "upstream.backoff_min": "20ms",
            "upstream.backoff_max": "100ms",
            "upstream.report_interval": "20ms",
            "sds.silent_stream_grace": "50ms",
        }
        config = load_agent_config(None, {}, given | flags)
        folder = DataFolder(config.data_dir)
        try:
            return await build(config, SystemClock(), folder, 1000)
        except BaseException:
            folder.close()
            raise

    @asynccontextmanager
    async def running(self, **flags: object) -> AsyncIterator[Agent]:
        agent = await self.build(**flags)
        await agent.start()
        try:
            yield agent
        finally:
            await agent.stop()

    async def ask(self, path: str) -> httpx.Response:
        transport = httpx.AsyncHTTPTransport(uds=str(self.data / "admin.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://sds") as client:
            return await client.get(path)

    async def ready(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while (await self.ask("/ready")).status_code != 200:
                await asyncio.sleep(0.01)


@pytest.fixture
async def world(server: FakeNodeServer, folder: Path) -> World:
    await server.put("e1", "/web", ME)
    return World(server, folder)


async def test_a_sidecar_is_served_and_rotated(world: World) -> None:
    async with world.running():
        sidecar = Sidecar(world.socket)
        await sidecar.ask("default")
        first = await sidecar.get("default")
        await world.server.put("e1", "/web", ME, dns=("a.example",))
        second = await sidecar.get("default")
        assert first.version_info != second.version_info
        await sidecar.close()


@pytest.mark.parametrize("key_type", [KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.ED25519, KeyType.RSA_2048])
async def test_the_keys_are_of_the_configured_type(world: World, key_type: KeyType) -> None:
    """The longer RSA keys take seconds to make and differ in nothing else."""
    async with world.running(**{"svid.key_type": key_type.value}):
        sidecar = Sidecar(world.socket)
        await sidecar.ask("default")
        secret = Secret.FromString((await sidecar.get("default")).resources[0].value).tls_certificate
        key = load_pem_private_key(secret.private_key.inline_bytes, None)
        leaf = load_pem_x509_certificate(secret.certificate_chain.inline_bytes)
        assert isinstance(key, KINDS[key_type])
        assert isinstance(key, Ed25519PrivateKey) or key.key_size == SIZES[key_type]
        assert leaf.public_key() == key.public_key()
        await sidecar.close()


async def test_a_silent_stream_of_the_same_process_is_served_after_a_restart(world: World) -> None:
    """MOSN's habit. It is known again by PID and start time, from the data folder."""
    async with world.running():
        sidecar = Sidecar(world.socket)
        await sidecar.ask("default", "ROOTCA")
        for _ in range(2):
            await sidecar.get("default", "ROOTCA")
        await sidecar.close()
    async with world.running(join_token_file=None):
        silent = Sidecar(world.socket)
        answers = [await silent.get("default", "ROOTCA") for _ in range(2)]
        assert len({answer.version_info for answer in answers}) == 2
        await silent.close()
    assert len(world.server.seen.attests) == 1, "the stored SVID served, and no token was needed"


async def test_it_starts_and_serves_what_it_gets_when_the_server_comes_back(world: World) -> None:
    async with world.running():
        pass
    await world.server.stop()
    async with world.running():
        assert (await world.ask("/ready")).status_code == 503
        assert (await world.ask("/live")).status_code == 200
        sidecar = Sidecar(world.socket)
        await sidecar.ask("default")
        await world.server.start()
        await sidecar.get("default")
        await world.ready()
        await sidecar.close()


async def test_the_server_hears_what_the_sidecar_holds(world: World) -> None:
    async with world.running():
        sidecar = Sidecar(world.socket)
        await sidecar.ask("default", "nobody-has-this")
        answer = await sidecar.get("default", "nobody-has-this")
        async with asyncio.timeout(PATIENCE):
            while not any(
                resource.acked_version == answer.version_info
                for report in world.server.seen.reports
                for stream in report.streams
                for resource in stream.resources
            ):
                await asyncio.sleep(0.01)
        events = [event for report in world.server.seen.reports for event in report.events]
        assert ("workload.attested", "success") in [(event.action, event.outcome) for event in events]
        assert ("secret.refused", "nobody-has-this") in [(event.action, event.resource) for event in events]
        await sidecar.close()


async def test_the_server_hears_of_the_container_that_a_process_is_in(world: World) -> None:
    container = "c0ff" * 16
    with in_container(container):
        async with world.running():
            sidecar = Sidecar(world.socket)
            await sidecar.ask("default")
            await sidecar.get("default")
            signed = [item.process for request in world.server.seen.signs for item in request.items]
            assert [process.container for process in signed if process.pid == os.getpid()] == [container]
            async with asyncio.timeout(PATIENCE):
                while not any(report.events for report in world.server.seen.reports):
                    await asyncio.sleep(0.01)
            events = [event for report in world.server.seen.reports for event in report.events]
            assert {event.process.container for event in events if event.action == "workload.attested"} == {container}
            await sidecar.close()


async def test_operators_see_what_is_going_on(world: World) -> None:
    async with world.running():
        await world.ready()
        sidecar = Sidecar(world.socket)
        await sidecar.ask("default")
        await sidecar.get("default")
        await world.server.put("near", "/near", ME, "unix:path:/nowhere")
        async with asyncio.timeout(PATIENCE):
            while (status := (await world.ask("/v1/status")).json())["entries"] != 2:
                await asyncio.sleep(0.01)
        assert status["agent"]["spiffe_id"] == AGENT_ID
        assert status["server"]["connected"] is True
        assert status["bundle"] == {"trust_domain": "example.org", "sequence": 1, "x509_authorities": 1}
        assert (status["svids"], status["streams"]) == (1, 1)
        assert 3000 < status["outage_budget_seconds"] <= 3600

        explained = (await world.ask(f"/v1/explain?pid={os.getpid()}")).json()
        assert ME in explained["selectors"]
        assert explained["connected"] is True
        (matching,) = explained["matching"]
        assert (matching["spiffe_id"], matching["problem"]) == ("spiffe://example.org/web", "")
        assert explained["near_misses"] == [
            {"entry_id": "near", "spiffe_id": "spiffe://example.org/near", "missing": ["unix:path:/nowhere"]}
        ]

        (stream,) = (await world.ask("/v1/streams")).json()["streams"]
        assert stream["process"]["pid"] == os.getpid()
        (resource,) = stream["resources"]
        assert resource["acked_serial"] == resource["sent_serial"] == matching["serial"]

        metrics = (await world.ask("/metrics")).text
        assert "sds_agent_svids 1.0" in metrics
        assert "sds_agent_outage_budget_seconds" in metrics
        await sidecar.close()


@pytest.mark.parametrize("pid", ["", "x", "0", "-1", "1.5", "99999999999", "²", "4194305", "4194304"])
async def test_explaining_no_process(world: World, pid: str) -> None:
    async with world.running():
        answer = await world.ask(f"/v1/explain?pid={pid}")
        assert answer.status_code == (404 if pid == "4194304" else 422)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]
        assert (await world.ask("/nowhere")).status_code == 404


async def test_permissions_of_everything_it_makes(world: World) -> None:
    async with world.running(socket_mode="0660"):
        assert stat.S_IMODE(world.socket.stat().st_mode) == 0o660
        assert stat.S_IMODE(world.data.stat().st_mode) == 0o700
        for path in world.data.rglob("*"):
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077 or path.parent.name.startswith("grpc-"), path
    assert not world.socket.exists()
    assert sorted(path.name for path in world.data.iterdir()) == ["identity.json", "lock", "spool"]
    assert list((world.data / "spool").iterdir()) == []  # everything was told, and the run ended by itself


async def test_a_stop_waits_for_answers_but_not_for_ever(world: World) -> None:
    async with asyncio.timeout(PATIENCE):
        async with world.running():
            sidecar = Sidecar(world.socket)
            await sidecar.ask("default")
            assert await sidecar.call.read() is not None  # and never ACKs
        assert await sidecar.call.code() is not grpc.StatusCode.OK
        await sidecar.close()


async def test_a_damaged_identity_is_told_of_and_a_token_heals_it(world: World) -> None:
    async with world.running():
        pass
    (world.data / "identity.json").write_text("{torn")
    with pytest.raises(IdentityUnusable, match=r"identity\.json is damaged.*sds token create"):
        await world.build(join_token_file=None)
    with pytest.raises(CannotStart, match="unknown, used or expired"):
        await world.build()
    world.server.tokens["new"] = AGENT_ID
    (world.folder / "token").write_text("new")
    async with world.running():
        await world.ready()


async def test_without_an_identity_and_a_token_it_does_not_start(world: World) -> None:
    with pytest.raises(CannotStart, match="sds token create"):
        await world.build(join_token_file=None)


async def test_a_start_that_fails_leaves_no_socket(world: World) -> None:
    with pytest.raises(CannotStart):
        await world.build(join_token_file=None)
    assert not world.socket.exists()
    assert not (world.data / "admin.sock").exists()
    with pytest.raises(AddressUnusable):
        await world.build(admin_socket=str(world.folder / "absent" / "admin.sock"))
    assert not world.socket.exists()


async def test_health_over_tcp_says_nothing_else(world: World) -> None:
    port = 18_000 + os.getpid() % 10_000
    async with world.running(**{"health.listen": f"127.0.0.1:{port}"}), httpx.AsyncClient() as client:
        await world.ready()
        assert (await client.get(f"http://127.0.0.1:{port}/ready")).status_code == 200
        assert "sds_agent_svids" in (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        assert (await client.get(f"http://127.0.0.1:{port}/v1/status")).status_code == 404


async def test_a_socket_in_use_is_left_to_whoever_has_it(world: World) -> None:
    async with world.running():
        with pytest.raises(AddressUnusable, match="in use by a running process"):
            await world.build(data_dir=str(world.folder / "other"))
        await world.ready()
        assert not world.server.tokens
        assert len(world.server.seen.attests) == 1, "no token is spent on a start that cannot succeed"


async def test_a_ban_takes_everything_away(world: World) -> None:
    async with world.running():
        await world.ready()
        await world.server.cut_watches(grpc.StatusCode.PERMISSION_DENIED, "this agent is banned")
        async with asyncio.timeout(PATIENCE):
            while (answer := await world.ask("/ready")).status_code == 200:
                await asyncio.sleep(0.01)
        assert "banned" in answer.json()["checks"]["server"]["reason"]
        assert (await world.ask("/v1/status")).json()["svids"] == 0


HOG = """
import socket, sys
held = []
for _ in range(400):
    one = socket.socket(socket.AF_UNIX); one.connect(sys.argv[1]); one.send(b"PRI * HTTP/2.0"); held.append(one)
print("open", flush=True)
sys.stdin.read()
"""


async def test_a_process_that_opens_many_connections_and_dies_leaves_everyone_served(world: World) -> None:
    async with world.running(**{"limits.max_connections_per_uid": 100}):
        sidecar = Sidecar(world.socket)
        await sidecar.ask("default")
        await sidecar.get("default")
        hog = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOG, str(world.socket), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert hog.stdout is not None
        assert await hog.stdout.readline() in {b"open\n", b""}
        await world.server.put("e1", "/web", ME, dns=("a.example",))
        await sidecar.get("default")
        if hog.returncode is None:
            hog.kill()
        await hog.wait()
        hog._transport.close()  # type: ignore[attr-defined]
        other = Sidecar(world.socket)
        await other.ask("default")
        await other.get("default")
        await other.close()
        await sidecar.close()

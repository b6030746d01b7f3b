"""Who may say what to the server, and how long."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sds._pb.sds.node.v1 import node_pb2
from sds.demo.errors import DemoError
from tests.e2e.harness import sds_client
from tests.e2e.harness.cli import sds
from tests.e2e.harness.files import contents
from tests.e2e.harness.node import Credentials, join, new_csr, node_api
from tests.e2e.harness.world import World
from tests.e2e.harness.world import world as new_world

pytestmark = pytest.mark.e2e

REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


async def test_an_agent_gets_nothing_that_is_not_parented_to_it(world: World) -> None:
    """It knows the other's entry ID and asks; it is neither told nor given anything."""
    theirs = await world.own_entry("theirs")
    other = await join(world)
    async with node_api(world, other) as node:
        item = node_pb2.SignItem(entry_id=theirs["id"], csr=new_csr()[1])
        (result,) = (await node.SignX509Svids(node_pb2.SignX509SvidsRequest(items=[item]), timeout=10)).results
        assert result.error.code == node_pb2.SignError.CODE_NOT_AUTHORIZED
        assert not result.HasField("svid")
        watch = node.WatchAuthorized(node_pb2.WatchAuthorizedRequest())
        snapshot = await asyncio.wait_for(watch.read(), 10)
        assert list(snapshot.upserted) == []
        watch.cancel()


async def test_a_workloads_certificate_is_no_agents(world: World) -> None:
    await world.own_entry("workload")
    svid = sds_client.svid_of(await sds_client.fetch(world.stack.sds_socket, "default"))
    workload = Credentials(world.id("workload"), svid.chain_pem, svid.key_pem)
    async with node_api(world, workload) as node:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await node.Renew(node_pb2.RenewRequest(csr=new_csr()[1]), timeout=10)
    assert refused.value.code() in REFUSED


async def test_an_expired_agent_is_cut_off() -> None:
    """Its connection is still open when its certificate ends: the live stream is ended and new calls are refused."""
    async with new_world(server_env={"SDS_SERVER_CA__AGENT_TTL": "5s"}) as world:
        await world.start()
        short = await join(world)
        async with node_api(world, short) as node:
            watch = node.WatchAuthorized(node_pb2.WatchAuthorizedRequest())
            await asyncio.wait_for(watch.read(), 4)
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                async with asyncio.timeout(15):
                    while await watch.read() is not grpc.aio.EOF:
                        pass
                    raise ended_with(await watch.code())
            assert ended.value.code() in REFUSED
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await node.Renew(node_pb2.RenewRequest(csr=new_csr()[1]), timeout=10)
            assert refused.value.code() in REFUSED | {grpc.StatusCode.UNAVAILABLE}


def ended_with(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())


async def test_a_server_of_another_authority_is_refused(empty_world: World) -> None:
    """The agent was given another bundle: it does not say its token to this server, which is good afterwards."""
    world = empty_world
    await world.stack.start_server()
    (world.folder / "wrong.pem").write_bytes(foreign_authority())
    token = (await world.cli("token", "create")).json["token"]
    (world.folder / "token").touch(mode=0o600)
    (world.folder / "token").write_text(token)
    args = [
        *("agent", "run", "--server", f"127.0.0.1:{world.stack.ports[0]}"),
        *("--join-token-file", str(world.folder / "token"), "--data-dir", str(world.folder / "a")),
        *("--socket", str(world.folder / "a.sock"), "--trust-bundle", str(world.folder / "wrong.pem")),
    ]
    with suppress(TimeoutError):  # it may go on trying, as long as it gets nowhere
        assert (await sds(*args, within=8)).status != 0
    assert (await world.cli("agent", "list")).json["agents"] == []


def foreign_authority() -> bytes:
    """A root of the same trust domain that this server does not have."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "another")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://example.org")]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    return made.public_bytes(serialization.Encoding.PEM)


async def test_no_entry_can_carry_the_servers_name(world: World) -> None:
    """A workload that could would pose as the server."""
    for name in ("server.sds.internal", "SDS.internal", "*.sds.internal", "server.sds.internal."):
        ran = await sds(
            *("entry", "create", "--spiffe-id", world.id("evil"), "--parent-id", world.stack.agent_id),
            *("--selector", "unix:uid:0", "--dns", name, "--admin-socket", str(world.stack.admin_socket)),
        )
        assert ran.status == 1, name
        assert "dns" in ran.err.lower()


async def test_no_workload_key_is_ever_in_a_file(world: World) -> None:
    """Every file of server and agent, and their logs, are searched for the key in the forms it could have."""
    await world.own_entry()
    svid = sds_client.svid_of(await sds_client.fetch(world.stack.sds_socket, "default"))
    key = serialization.load_pem_private_key(svid.key_pem, None)
    scalar = key.private_numbers().private_value
    body = b"".join(svid.key_pem.splitlines()[1:-1])
    forms = [
        body[40:80],
        scalar.to_bytes(32),
        scalar.to_bytes(32).hex().encode(),
        str(scalar).encode(),
        key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    ]
    files = [
        (path, re.sub(rb"\s", b"", content))
        for path, content in contents(world.folder, lambda path: "bin" not in path.parts)
    ]
    assert len(files) > 5
    serial = svid.chain[0].serial_number.to_bytes(20).lstrip(b"\0").hex().encode()
    assert any(serial in content for _, content in files)
    assert [str(path) for path, content in files if any(form in content for form in forms)] == []


async def test_garbage_harms_nobody(world: World) -> None:
    """Malformed messages on both listeners are refused as such, and the server goes on."""
    good = await join(world)
    async with node_api(world, good) as node:
        item = node_pb2.SignItem(entry_id="x" * 10_000, csr=b"\x30" * 20_000)
        (result,) = (await node.SignX509Svids(node_pb2.SignX509SvidsRequest(items=[item]), timeout=10)).results
        assert result.error.code in {node_pb2.SignError.CODE_NOT_AUTHORIZED, node_pb2.SignError.CODE_CSR_REFUSED}
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await node.Renew(node_pb2.RenewRequest(csr=b"\x00\xff"), timeout=10)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        await node.ReportDelivery(node_pb2.ReportDeliveryRequest(run_id="r", sequence=1), timeout=10)
    with pytest.raises(DemoError, match="404"):
        await world.stack.call("GET", "/v1/no-such-thing")

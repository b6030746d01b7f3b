"""A gateway's certificate from Vault's PKI engine: issued for it, renewed in time, under requests that never fail."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from cryptography import x509

from sds.demo.envoy_config import SdsProtocol
from sds.demo.ports import LOOPBACK, free_ports
from tests.contract.secrets.pki import ROLE, issuing_mount
from tests.e2e.harness.sds_client import mosn, svid_of
from tests.e2e.harness.secret_envoys import gateway
from tests.e2e.harness.vault_chaos import auth_by_file
from tests.e2e.harness.wait import PATIENCE, eventually, here
from tests.e2e.harness.world import World
from tests.fakes.vault_server import VaultServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
HOST = "gateway.example.org"
REQUEST = f"GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n".encode()


@dataclass
class Visits:
    """Of clients that verify what they are shown."""

    count: int = 0
    failures: list[str] = field(default_factory=list)
    certificates: list[x509.Certificate] = field(default_factory=list)  # each once, in the order in which they came


@asynccontextmanager
async def visited(port: int, root_pem: str) -> AsyncIterator[Visits]:
    """One new connection after the other while the block runs."""
    visits, context = Visits(), ssl.create_default_context(cadata=root_pem)

    async def visit() -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=context, server_hostname=HOST)
        try:
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.write(REQUEST)
            status = await reader.readline()
        finally:
            writer.close()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()
        if status != b"HTTP/1.1 200 OK\r\n":
            raise OSError(f"answered {status!r}")
        certificate = x509.load_der_x509_certificate(der)
        if certificate not in visits.certificates[-1:]:
            visits.certificates.append(certificate)

    async def run() -> None:
        while True:
            try:
                await asyncio.wait_for(visit(), PATIENCE)
            except (OSError, ssl.SSLError, asyncio.IncompleteReadError) as error:
                visits.failures.append(repr(error))
            visits.count += 1
            await asyncio.sleep(0.02)

    task = asyncio.create_task(run())
    try:
        yield visits
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [SdsProtocol.SOTW, SdsProtocol.DELTA])
async def test_a_gateway_s_certificate_is_renewed_before_it_ends(
    empty_world: World, vault_shared: VaultServer, protocol: SdsProtocol
) -> None:
    world, (port,) = empty_world, free_ports(1)
    mount = await asyncio.to_thread(issuing_mount, vault_shared)
    lifetime = f"{min(await here(12.0), PATIENCE):.0f}s"  # a third of it is there for the renewal
    role = {"allowed_domains": HOST, "allow_bare_domains": True, "ttl": lifetime, "max_ttl": lifetime}
    await vault_shared.write(f"{mount}/roles/brief", {**role, "key_type": "ec", "key_bits": 256})
    root_pem = str((await vault_shared.read(f"{mount}/cert/ca"))["data"]["certificate"])
    policy = vault_shared.policy(f'path "{mount}/issue/brief" {{ capabilities = ["update"] }}')
    world.stack.server_env = {
        "SDS_SERVER_VAULT__ADDRESS": vault_shared.url,
        **auth_by_file(world.folder, vault_shared.token(policy)),
    }
    await world.start()
    await world.entry("gateway")
    source = ("--from", "pki", "--mount", mount, "--role", "brief", "--common-name", HOST)
    await world.cli("secret", "create", "web/certificate", *source)
    await world.cli("grant", "create", "web/certificate", "--to", world.id("gateway"))
    admin = str(world.folder / "gateway.sock")
    config = gateway("gateway", admin, port, world.source(protocol), {HOST: "web/certificate"})
    envoy = await world.envoy("gateway", config)
    async with visited(port, root_pem) as visits:

        async def renewed_and_the_first_has_ended() -> bool:
            assert not visits.failures, visits.failures[:5]
            seen = visits.certificates
            return len(seen) >= 2 and datetime.now(UTC) > seen[0].not_valid_after_utc

        await eventually(renewed_and_the_first_has_ended, within=3 * PATIENCE)
    assert not visits.failures, visits.failures[:5]
    assert visits.count > len(visits.certificates)
    envoy.child.check()
    assert await envoy.admin.restart_epoch() == 0
    assert sum((await envoy.admin.stats("sds[.].*[.]update_rejected")).values()) == 0
    issued = (await world.cli("audit", "tail", "--action", "secret.rotate")).json_lines
    serials = {event["details"]["serial"] for event in issued}
    assert {f"{each.serial_number:x}" for each in visits.certificates} <= serials
    assert (await world.cli("audit", "tail", "--action", "secret.problem")).json_lines == []
    for log in world.folder.glob("*.log"):
        assert b"PRIVATE KEY" not in log.read_bytes()


async def test_a_server_that_starts_without_vault_has_the_certificate_that_was_issued(
    empty_world: World, vault_shared: VaultServer
) -> None:
    """It lies in the database, sealed; nobody needs Vault for it before it is to be renewed."""
    world, (nowhere,) = empty_world, free_ports(1)
    mount = await asyncio.to_thread(issuing_mount, vault_shared)
    policy = vault_shared.policy(f'path "{mount}/issue/{ROLE}" {{ capabilities = ["update"] }}')
    auth = auth_by_file(world.folder, vault_shared.token(policy))
    world.stack.server_env = {"SDS_SERVER_VAULT__ADDRESS": vault_shared.url, **auth}
    await world.start()
    await world.own_entry("gateway")
    source = ("--from", "pki", "--mount", mount, "--role", ROLE, "--common-name", HOST)
    await world.cli("secret", "create", "web/certificate", *source)
    await world.cli("grant", "create", "web/certificate", "--to", world.id("gateway"))
    async with mosn(world.stack.sds_socket, "web/certificate") as client:
        await client.until_holds("web/certificate")
        before = svid_of(client.secrets["web/certificate"])
    assert world.stack.server is not None
    assert world.stack.agent is not None
    await world.stack.agent.kill()
    await world.stack.server.kill()
    world.stack.server_env = {"SDS_SERVER_VAULT__ADDRESS": f"http://{LOOPBACK}:{nowhere}", **auth}
    await world.start()
    async with mosn(world.stack.sds_socket, "web/certificate") as client:
        await client.until_holds("web/certificate")
        assert svid_of(client.secrets["web/certificate"]) == before

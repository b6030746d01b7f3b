"""Credentials for a real PostgreSQL, made by a real Vault, from a sidecar's stream to the login and to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from tests.e2e.harness import sds_client
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World
from tests.fakes.leased_database import LeasedDatabase, password_cluster
from tests.fakes.postgres import Cluster, PostgresMissing
from tests.fakes.vault_client import token_file
from tests.fakes.vault_server import VaultServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    try:
        with password_cluster() as running:
            yield running
    except PostgresMissing as missing:
        pytest.skip(str(missing))


def credentials(secret: Secret) -> tuple[str, str]:
    fields = secret.generic_secret.secrets
    return fields["username"].inline_string or fields["username"].inline_bytes.decode(), (
        fields["password"].inline_string or fields["password"].inline_bytes.decode()
    )


async def test_from_the_stream_to_the_login_over_a_crash_to_the_end_of_the_grant(
    empty_world: World, vault_shared: VaultServer, cluster: Cluster
) -> None:
    world, database = empty_world, LeasedDatabase(vault_shared, cluster)
    token = token_file(world.folder, vault_shared.token(database.policy))
    world.stack.server_env = {
        "SDS_SERVER_VAULT__ADDRESS": vault_shared.url,
        "SDS_SERVER_VAULT__AUTH__METHOD": "token_file",
        "SDS_SERVER_VAULT__AUTH__TOKEN_FILE": str(token),
        "SDS_SERVER_SECRETS__LEASES__TOKEN_ROLE": database.token_role,
        "SDS_SERVER_SECRETS__LEASES__RESTART_LINGER": "15s",  # should the agent not be back when the grant ends
    }
    await world.start()
    await world.own_entry("orders")
    source = ("--from", "database", "--mount", database.mount, "--role", database.role)
    await world.cli("secret", "create", "orders-db", *source)
    grant = (await world.cli("grant", "create", "orders-db", "--to", world.id("orders"))).json
    async with sds_client.mosn(world.stack.sds_socket, "orders-db") as sidecar:

        async def has_it() -> bool:
            return "orders-db" in sidecar.secrets

        await eventually(has_it, within=60)
        held = credentials(sidecar.secrets["orders-db"])
        assert await asyncio.to_thread(database.login, *held)

        assert world.stack.server is not None
        await world.stack.server.kill()
        await world.stack.start_server()
        assert len(database.leases()) == 1

        shown = (await world.cli("secret", "versions", "orders-db")).out
        assert held[1] not in shown
        await world.cli("grant", "delete", grant["id"], "--yes")

        async def nobody_logs_in() -> bool:
            return not await asyncio.to_thread(database.login, *held)

        await eventually(nobody_logs_in, within=150, every=0.5)
        await eventually(lambda: asyncio.to_thread(lambda: not database.leases()), within=60, every=0.5)
    for log in world.folder.glob("*.log"):
        assert held[1] not in log.read_text()
    assert held[1].encode() not in b"".join(file.read_bytes() for file in world.folder.glob("server/*sqlite*"))

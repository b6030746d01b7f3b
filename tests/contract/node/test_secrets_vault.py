"""Secrets whose values are in a real Vault, through a whole server: changes arrive by themselves, outages take nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509

from sds.secrets.secret import KvSource, PkiSource, SecretKind, SecretSpec
from tests.contract.node.harness import DEADLINE, Node, running
from tests.contract.node.secret_kit import ABSENT, Operator, Stream
from tests.contract.secrets.kv import rules
from tests.contract.secrets.pki import ROLE, issuing_mount
from tests.fakes.vault_client import token_file
from tests.fakes.vault_server import VaultServer

WEB = "spiffe://example.org/web"


@asynccontextmanager
async def with_vault(vault: VaultServer, folder: Path, *rules_: str) -> AsyncIterator[Node]:
    """A server that may do in this Vault what the rules allow, and no more."""
    token = vault.token(vault.policy("\n".join(rules_)))
    more = {} if vault.ca_file is None else {"vault__ca_file": str(vault.ca_file)}
    async with running(
        folder,
        vault__address=vault.url,
        vault__auth__method="token_file",
        vault__auth__token_file=str(token_file(folder, token)),
        secrets__retry="200ms",
        secrets__retry_max="1s",
        **more,
    ) as node:
        yield node


def kv(name: str, mount: str, field: str = "password") -> SecretSpec:
    return SecretSpec(name, SecretKind.GENERIC, KvSource(mount, f"team/{name}", {"": field}))


async def write(vault: VaultServer, mount: str, name: str, value: str) -> None:
    await vault.write(f"{mount}/data/team/{name}", {"data": {"password": value}})


@pytest.mark.both_vaults
async def test_a_change_in_vault_reaches_the_agent_by_itself(vault_shared: VaultServer, folder: Path) -> None:
    mount = vault_shared.mount("kv", {"version": "2"})
    async with with_vault(vault_shared, folder, rules(mount)) as node:
        agent, operator = await node.attest(), Operator(node)
        entry = (await node.entry("/web"))["id"]
        names = [f"s{number}" for number in range(10)]
        for name in names:
            await write(vault_shared, mount, name, f"{name}-one")
            await operator.define(name, WEB, spec=kv(name, mount))
        stream = Stream(node, agent)
        await stream.want(*((entry, name) for name in names))
        for name in names:
            await stream.until(entry, name, f"{name}-one".encode())
        for name in names:
            await write(vault_shared, mount, name, f"{name}-two")
        for name in names:
            await stream.until(entry, name, f"{name}-two".encode(), 30)
        assert len(stream.updates) == 20, "nothing is sent twice"


async def test_what_is_deleted_or_denied_in_vault_stays_and_is_told_to_operators(
    vault_shared: VaultServer, folder: Path
) -> None:
    mount = vault_shared.mount("kv", {"version": "2"})
    async with with_vault(vault_shared, folder, rules(mount, without="team/denied")) as node:
        agent, operator = await node.attest(), Operator(node)
        entry = (await node.entry("/web"))["id"]
        for name in ("gone", "denied", "malformed"):
            await write(vault_shared, mount, name, f"{name}-one")
        secrets = {
            name: await operator.define(name, WEB, spec=kv(name, mount))
            for name in ("gone", "denied", "malformed", "never")
        }
        stream = Stream(node, agent)
        await stream.want(*((entry, name) for name in secrets))
        await stream.until(entry, "gone", b"gone-one")
        await stream.until(entry, "malformed", b"malformed-one")
        for name in ("denied", "never"):
            await stream.until(entry, name, ABSENT.REASON_UNAVAILABLE)
        await asyncio.to_thread(vault_shared.delete_blocking, f"{mount}/data/team/gone")
        await vault_shared.write(f"{mount}/data/team/malformed", {"data": {"other": "field"}})
        codes = {"gone": "missing", "denied": "denied", "malformed": "malformed", "never": "missing"}
        async with asyncio.timeout(30):
            for name, code in codes.items():
                while (await operator.engine.desk.state(secrets[name].id)).problem_code != code:
                    await asyncio.sleep(0.1)
        later = Stream(node, agent)
        await later.want((entry, "gone"))
        await later.until(entry, "gone", b"gone-one")
        await write(vault_shared, mount, "never", "at last")
        await stream.until(entry, "never", b"at last", 30)
        assert (await operator.engine.desk.state(secrets["gone"].id)).problem_code == "missing", "it is still told"


async def test_a_lost_vault_takes_nothing_and_comes_back(vault_on_disk: VaultServer, folder: Path) -> None:
    mount = await asyncio.to_thread(vault_on_disk.mount, "kv", {"version": "2"})
    async with with_vault(vault_on_disk, folder, rules(mount)) as node:
        agent, operator = await node.attest(), Operator(node)
        entry = (await node.entry("/web"))["id"]
        await write(vault_on_disk, mount, "s", "one")
        secret = await operator.define("s", WEB, spec=kv("s", mount))
        stream = Stream(node, agent)
        await stream.want((entry, "s"))
        await stream.until(entry, "s", b"one")
        await asyncio.to_thread(vault_on_disk.kill)
        async with asyncio.timeout(60):
            while (await operator.engine.desk.state(secret.id)).problem_code != "unavailable":
                await asyncio.sleep(0.1)
        later = Stream(node, agent)
        await later.want((entry, "s"))
        await later.until(entry, "s", b"one")
        await asyncio.to_thread(vault_on_disk.start)
        await write(vault_on_disk, mount, "s", "two")
        await stream.until(entry, "s", b"two", 90)
        async with asyncio.timeout(30):
            while (await operator.engine.desk.state(secret.id)).problem_code:
                await asyncio.sleep(0.1)
        assert [event["details"]["code"] for event in await node.events("secret.recovered")] == ["unavailable"]


async def test_refresh_asks_vault_whether_anybody_wants_it_or_not(vault_shared: VaultServer, folder: Path) -> None:
    mount = vault_shared.mount("kv", {"version": "2"})
    async with with_vault(vault_shared, folder, rules(mount)) as node:
        operator = Operator(node)
        secret = await operator.define("s", spec=kv("s", mount))
        assert (await operator.engine.desk.refresh(secret.id)).problem_code == "missing"
        await write(vault_shared, mount, "s", "one")
        state = await operator.engine.desk.refresh(secret.id)
        assert (state.version, state.problem_code) == ("1", "")
        assert not list(operator.engine.shelf.slots())


async def test_a_certificate_of_vault_s_pki_is_issued_once(vault_shared: VaultServer, folder: Path) -> None:
    mount = await asyncio.to_thread(issuing_mount, vault_shared)
    rule = f'path "{mount}/issue/{ROLE}" {{ capabilities = ["update"] }}'
    async with with_vault(vault_shared, folder, rule) as node:
        agent, operator = await node.attest(), Operator(node)
        entry = (await node.entry("/web"))["id"]
        spec = SecretSpec("gateway", SecretKind.CERTIFICATE, PkiSource(mount, ROLE, "gateway.example.org"))
        secret = await operator.define("gateway", WEB, spec=spec)
        streams = [Stream(node, agent) for _ in range(2)]
        chains = []
        for stream in streams:
            await stream.want((entry, "gateway"))
            async with asyncio.timeout(DEADLINE):
                while not stream.updates:
                    await stream.read()
            value = stream.updates[0].value
            assert (value.kind, [one.name for one in value.fields]) == ("certificate", ["chain", "private_key"])
            assert value.HasField("not_after")
            chains.append(x509.load_pem_x509_certificates(value.fields[0].value))
        assert chains[0] == chains[1]
        (event,) = await node.events("secret.rotate")
        assert event["details"]["serial"] == f"{chains[0][0].serial_number:x}"
        assert event["target"]["id"] == secret.id
        assert b"PRIVATE KEY" not in (folder / "s" / "sds.sqlite3").read_bytes()


@pytest.mark.parametrize("source", [KvSource("kv", "a"), PkiSource("pki", "r", "a.example.org")])
async def test_without_vault_what_needs_it_cannot_be_had(node: Node, source: KvSource | PkiSource) -> None:
    agent, operator = await node.attest(), Operator(node)
    entry = (await node.entry("/web"))["id"]
    secret = await operator.define("s", WEB, spec=SecretSpec("s", SecretKind.CERTIFICATE, source))
    stream = Stream(node, agent)
    await stream.want((entry, "s"))
    await stream.until(entry, "s", ABSENT.REASON_UNAVAILABLE)
    async with asyncio.timeout(DEADLINE):
        while not (state := await operator.engine.desk.state(secret.id)).problem:
            await asyncio.sleep(0.05)
    assert "vault.address" in state.problem

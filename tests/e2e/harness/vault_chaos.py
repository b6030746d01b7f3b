"""A server, an agent and two sidecars' streams over a real Vault on disk, with a network between that can fail."""

from __future__ import annotations

import asyncio
import base64
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from sds.demo.ports import LOOPBACK
from tests.e2e.harness.sds_client import channel
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import PYTHON, World
from tests.fakes.sds_clients import EnvoyDelta, EnvoySotw
from tests.fakes.vault_client import token_file
from tests.fakes.vault_relay import SlowRelay, slow_relay
from tests.fakes.vault_server import VaultServer

LONG = 150.0
"""Seconds. What waits for a pause after failures to be over comes within forty on a machine that has time."""
EMBEDDED = "local"
_QUICK = {
    "SDS_SERVER_VAULT__TIMEOUT": "2s",
    "SDS_SERVER_VAULT__MAX_RETRIES": "1",
    "SDS_SERVER_SECRETS__RETRY": "200ms",
    "SDS_SERVER_SECRETS__RETRY_MAX": "1s",
}


def value_of(secret: Secret) -> str:
    found = secret.generic_secret.secret
    return found.inline_string or found.inline_bytes.decode()


@dataclass
class Sidecar:
    """One stream that is never to end; `told` are all values of each name in the order in which they came."""

    client: EnvoySotw | EnvoyDelta
    told: dict[str, list[str]]

    def check(self, written: Mapping[str, list[str]]) -> None:
        """Nothing was taken away, nothing came that was never written or that an older one had followed."""
        assert self.client.ended is None, self.client.ended
        held: set[str] = set()
        for name, version in self.client.received:
            assert version or name not in held, self.client.received
            held |= {name} if version else set()
        for name, values in self.told.items():
            places = [written[name].index(value) for value in values]
            assert places == sorted(set(places)), (name, values)

    def holds(self, values: Mapping[str, str]) -> bool:
        return all(self.told[name][-1:] == [value] for name, value in values.items())


@asynccontextmanager
async def sidecar(world: World, names: Sequence[str], kind: type[EnvoySotw | EnvoyDelta]) -> AsyncIterator[Sidecar]:
    told: dict[str, list[str]] = defaultdict(list)

    def note(secret: Secret) -> None:
        told[secret.name].append(value_of(secret))

    async with channel(world.stack.sds_socket) as connection:
        await connection.channel_ready()
        async with kind(connection, names, judge=note) as client:
            yield Sidecar(client, told)


@dataclass
class Chaos:
    """`steady` is a KV engine that no quota is ever set for; `narrow` holds the other secrets of Vault."""

    world: World
    vault: VaultServer
    relay: SlowRelay
    narrow: str
    steady: str
    written: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    sidecars: list[Sidecar] = field(default_factory=list)

    @property
    def in_narrow(self) -> list[str]:
        return ["one", "two", "three"]

    @property
    def in_vault(self) -> list[str]:
        return [*self.in_narrow, "other"]

    @property
    def names(self) -> list[str]:
        return [*self.in_vault, EMBEDDED]

    @property
    def values(self) -> dict[str, str]:
        """What was written last."""
        return {name: self.written[name][-1] for name in self.names}

    async def write(self, *names: str) -> None:
        """Another value of each, at its source."""
        for name in names:
            value = f"canary-{name}-{len(self.written[name])}"
            self.written[name].append(value)
            if name == EMBEDDED:
                await self.put(value)
            else:
                await self.vault.write(f"{self.mount(name)}/data/{name}", {"data": {"key": value}})

    async def put(self, value: str) -> None:
        fields = {"": base64.b64encode(value.encode()).decode()}
        await self.world.stack.call("PUT", f"/v1/secrets/{EMBEDDED}:value", {"fields": fields})

    def mount(self, name: str) -> str:
        return self.narrow if name in self.in_narrow else self.steady

    async def define(self) -> None:
        """All secrets, with a first value, granted to this process."""
        for name in self.names:
            source = {"backend": "kv", "mount": self.mount(name), "path": name, "fields": {"": "key"}}
            more = {} if name == EMBEDDED else {"source": source}
            await self.world.stack.call("POST", "/v1/secrets", {"name": name, "kind": "generic", **more})
            await self.world.stack.call("POST", "/v1/grants", {"secret": name, "spiffe_id": self.world.id("test")})
        await self.write(*self.names)

    # How it stands

    def check(self) -> None:
        for one in self.sidecars:
            one.check(self.written)

    async def all_hold(self, *names: str) -> None:
        """Both streams have what was written last of these."""
        wanted = {name: self.values[name] for name in names or self.names}

        async def hold() -> bool:
            self.check()
            return all(one.holds(wanted) for one in self.sidecars)

        await eventually(hold, within=LONG)

    async def newcomer_gets(self, values: Mapping[str, str]) -> None:
        """A sidecar that starts now."""
        async with sidecar(self.world, list(values), EnvoySotw) as new:
            await new.client.until(lambda: new.holds(values), within=LONG)
            new.check(self.written)

    async def code(self, name: str) -> str:
        state = (await self.world.stack.call("GET", f"/v1/secrets/{name}")).json()["state"]
        assert bool(state["problem"]) == bool(state["problem_code"])
        return str(state["problem_code"])

    async def until_code(self, code: str, *names: str) -> None:
        async def found() -> bool:
            return {await self.code(name) for name in names} == {code}

        await eventually(found, within=LONG, every=0.2)

    async def told(self, name: str) -> list[tuple[str, str]]:
        """What the audit log says of its problems: actions and codes."""
        answer = await self.world.stack.call("GET", "/v1/audit?limit=1000")
        events = [each for each in answer.json()["events"] if each["details"].get("name") == name]
        actions = ("secret.problem", "secret.recovered")
        return [(each["action"], each["details"]["code"]) for each in events if each["action"] in actions]

    async def until_told(self, code: str, *names: str) -> None:
        """A problem and its end, in turn: once, or again where the machine is so slow that a later look failed, too."""
        for name in names:

            async def ended(name: str = name) -> list[tuple[str, str]]:
                told = await self.told(name)
                return told if told[-1:] == [("secret.recovered", code)] else []

            told = await eventually(ended, within=LONG)
            assert told == [("secret.problem", code), ("secret.recovered", code)] * (len(told) // 2)


def auth_by_file(folder: Path, token: str) -> dict[str, str]:
    file = token_file(folder, token)
    return {"SDS_SERVER_VAULT__AUTH__METHOD": "token_file", "SDS_SERVER_VAULT__AUTH__TOKEN_FILE": str(file)}


def auth_by_role(vault: VaultServer, folder: Path, policy: str) -> dict[str, str]:
    """Blocks."""
    mount = vault.auth_mount("approle")
    vault.write_blocking(f"auth/{mount}/role/sds", {"token_policies": [policy], "token_ttl": "1h"})
    role_id = vault.read_blocking(f"auth/{mount}/role/sds/role-id")["data"]["role_id"]
    secret_id = vault.write_blocking(f"auth/{mount}/role/sds/secret-id", {})["data"]["secret_id"]
    return {
        "SDS_SERVER_VAULT__AUTH__METHOD": "approle",
        "SDS_SERVER_VAULT__AUTH__MOUNT": mount,
        "SDS_SERVER_VAULT__AUTH__ROLE_ID": role_id,
        "SDS_SERVER_VAULT__AUTH__SECRET_ID_FILE": str(token_file(folder, secret_id, "secret-id")),
    }


def policy_for(vault: VaultServer, *mounts: str) -> str:
    return vault.policy("\n".join(f'path "{mount}/*" {{ capabilities = ["read", "list"] }}' for mount in mounts))


@asynccontextmanager
async def chaos(world: World, vault: VaultServer, *, by_role: bool = False) -> AsyncIterator[Chaos]:
    """Everything runs, and both streams hold all secrets."""
    narrow, steady = [await asyncio.to_thread(vault.mount, "kv", {"version": "2"}) for _ in range(2)]
    policy = await asyncio.to_thread(policy_for, vault, narrow, steady)
    if by_role:
        auth = await asyncio.to_thread(auth_by_role, vault, world.folder, policy)
    else:
        auth = auth_by_file(world.folder, await asyncio.to_thread(vault.token, policy))
    async with AsyncExitStack() as stack:
        relay = stack.enter_context(slow_relay(vault.port))
        where = {"SDS_SERVER_VAULT__ADDRESS": f"https://{LOOPBACK}:{relay.port}"}
        world.stack.server_env = where | auth | _QUICK | {"SDS_SERVER_VAULT__CA_FILE": str(vault.ca_file)}
        await world.start()
        await world.stack.create_entry("test", [f"unix:uid:{os.geteuid()}", f"unix:path:{PYTHON}"])
        made = Chaos(world, vault, relay, narrow, steady)
        await made.define()
        for kind in (EnvoySotw, EnvoyDelta):
            made.sidecars.append(await stack.enter_async_context(sidecar(world, made.names, kind)))
        await made.all_hold()
        yield made
        made.check()

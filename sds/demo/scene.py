"""The demo's cast: a server, an agent, and two Envoys that prove themselves for their own entry only."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx

from sds.demo.changes import Changes
from sds.demo.envoy import Envoy, find_envoy, own_binary
from sds.demo.envoy_config import Back, Config, Front, SdsProtocol, SdsSource, back, front
from sds.demo.errors import DemoError
from sds.demo.ports import LOOPBACK, free_ports
from sds.demo.stack import Stack
from sds.demo.vault import FIELD, MOUNT, PATH, Vault, find_vault, vault

FRONT, BACK = "frontend", "backend"
SECRET = "partner/api-key"  # noqa: S105 # its name
_IMPOSTOR = "/as-backend"
_LONGEST_SOCKET = "/agent/relay/0000000000.sock"  # what the longest socket path may add to the folder's
_SUN_PATH = 107  # bytes of a Unix socket's path, without the final zero

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that runs. `url` is the front's plain-HTTP side; `vault` is None where none was asked for."""

    folder: Path
    stack: Stack
    front: Envoy
    back: Envoy
    url: str
    back_port: int
    vault: Vault | None = None

    @property
    def envoys(self) -> dict[str, Envoy]:
        return {FRONT: self.front, BACK: self.back}

    async def refused(self) -> bool:
        """Whether the front, which asks for the back's ID too, has got nothing for it and cannot connect as it."""
        held = await self.front.admin.secrets()
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            answer = await client.get(self.url.rstrip("/") + _IMPOSTOR)
        return held.get(self.stack.id(BACK)) == "" and answer.status_code == 503


@asynccontextmanager
async def scene(lifetime: timedelta, say: Say, *, with_vault: bool = False) -> AsyncIterator[Scene]:
    """Start everything in a new folder, and end and remove all of it afterwards. Raises DemoError.

    `say` is told each step when it is done.
    """
    envoy, vault_binary = find_envoy(), find_vault() if with_vault else None
    async with AsyncExitStack() as cleanup:
        folder = _folder(cleanup)
        safe = None
        if vault_binary:
            safe = await cleanup.enter_async_context(vault(vault_binary, folder / "vault", Changes.value(0)))
            say(f"vault: OpenBao in dev mode, pid {safe.child.pid}, with a secret at {MOUNT}/{PATH}")
        stack = Stack(folder, agent_name="demo", agent_env={"SDS_AGENT_UPSTREAM__REPORT_INTERVAL": "200ms"})
        stack.server_env = safe.server_env if safe else {}
        cleanup.push_async_callback(stack.stop)
        await stack.start_server()
        say(f"server: its own CA for {stack.trust_domain}, SQLite, admin API on a Unix socket")
        await stack.start_agent()
        say(f"agent: attested with a one-time join token as {stack.agent_id}")
        binaries = {name: own_binary(envoy, folder / name) for name in (FRONT, BACK)}
        for name, binary in binaries.items():
            selectors = [f"unix:uid:{os.geteuid()}", f"unix:path:{binary}"]
            await stack.create_entry(name, selectors, x509_ttl=int(lifetime.total_seconds()), owner="demo")
        say(f"entries: {FRONT} and {BACK}, each for its own binary alone, certificates live {lifetime.seconds} s")
        if safe:
            await _grant_secret(stack)
            say(f"secret: {SECRET} comes from Vault and is granted to {FRONT} and {BACK}; nobody else has it")
        yield await _start_envoys(cleanup, stack, binaries, say, safe)


def _folder(cleanup: AsyncExitStack) -> Path:
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 # the fallback is for a TMPDIR too long for sockets
        folder = Path(tempfile.mkdtemp(prefix="sds-demo-", dir=parent)).resolve()
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        if len(os.fsencode(folder)) + len(_LONGEST_SOCKET) <= _SUN_PATH:
            return folder
    raise DemoError(f"{folder} is too long a path for Unix sockets; set TMPDIR to a shorter one")


async def _grant_secret(stack: Stack) -> None:
    """Define it, and let both sidecars have it."""
    source = {"backend": "kv", "mount": MOUNT, "path": PATH, "fields": {"": FIELD}}
    await stack.call("POST", "/v1/secrets", {"name": SECRET, "kind": "generic", "source": source, "owner": "demo"})
    for name in (FRONT, BACK):
        await stack.call("POST", "/v1/grants", {"secret": SECRET, "spiffe_id": stack.id(name)})


def _configs(stack: Stack, port: int, back_port: int, credential: str) -> dict[str, Config]:
    """By name, in the order in which they start."""
    folder, socket = stack.folder, str(stack.sds_socket)
    return {
        BACK: back(
            Back(
                BACK,
                str(folder / f"{BACK}.sock"),
                back_port,
                [stack.id(FRONT)],
                SdsSource(socket, SdsProtocol.DELTA, stack.id(BACK)),
                credential=credential,
            )
        ),
        FRONT: front(
            Front(
                FRONT,
                str(folder / f"{FRONT}.sock"),
                port,
                back_port,
                [stack.id(BACK)],
                SdsSource(socket, SdsProtocol.SOTW, stack.id(FRONT)),
                others={_IMPOSTOR: stack.id(BACK)},
                credential=credential,
            )
        ),
    }


async def _start_envoys(
    cleanup: AsyncExitStack, stack: Stack, binaries: dict[str, Path], say: Say, safe: Vault | None
) -> Scene:
    folder, envoys = stack.folder, dict[str, Envoy]()
    port, back_port = free_ports(2)
    credential = SECRET if safe else ""
    for name, config in _configs(stack, port, back_port, credential).items():
        envoys[name] = await Envoy.start(binaries[name], config, folder, name)
        cleanup.push_async_callback(envoys[name].stop)
        await envoys[name].ready()
        held = await envoys[name].admin.secrets()
        wanted = {stack.id(name): "certificate"} | ({SECRET: "secret"} if safe else {})
        for secret, what in wanted.items():
            if not held.get(secret):
                raise DemoError(f"The {name} Envoy got no {what}; {folder}/agent.log ends with:\n{_agent_tail(stack)}")
        say(f"{name}: Envoy, pid {envoys[name].child.pid}, has its {' and its '.join(wanted.values())} by SDS")
    return Scene(folder, stack, envoys[FRONT], envoys[BACK], f"http://{LOOPBACK}:{port}/", back_port, safe)


def _agent_tail(stack: Stack) -> str:
    return stack.agent.tail() if stack.agent else ""

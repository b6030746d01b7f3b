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

from sds.demo.envoy import Envoy, find_envoy, own_binary
from sds.demo.envoy_config import Back, Front, SdsProtocol, SdsSource, back, front
from sds.demo.errors import DemoError
from sds.demo.ports import LOOPBACK, free_ports
from sds.demo.stack import Stack

FRONT, BACK = "frontend", "backend"
_IMPOSTOR = "/as-backend"
_LONGEST_SOCKET = "/agent/relay/0000000000.sock"  # what the longest socket path may add to the folder's
_SUN_PATH = 107  # bytes of a Unix socket's path, without the final zero

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that runs. `url` is the front's plain-HTTP side."""

    folder: Path
    stack: Stack
    front: Envoy
    back: Envoy
    url: str
    back_port: int

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
async def scene(lifetime: timedelta, say: Say) -> AsyncIterator[Scene]:
    """Start everything in a new folder, and end and remove all of it afterwards. Raises DemoError.

    `say` is told each step when it is done.
    """
    envoy = find_envoy()
    async with AsyncExitStack() as cleanup:
        folder = _folder(cleanup)
        stack = Stack(folder, agent_name="demo", agent_env={"SDS_AGENT_UPSTREAM__REPORT_INTERVAL": "200ms"})
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
        yield await _start_envoys(cleanup, stack, binaries, say)


def _folder(cleanup: AsyncExitStack) -> Path:
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 # the fallback is for a TMPDIR too long for sockets
        folder = Path(tempfile.mkdtemp(prefix="sds-demo-", dir=parent)).resolve()
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        if len(os.fsencode(folder)) + len(_LONGEST_SOCKET) <= _SUN_PATH:
            return folder
    raise DemoError(f"{folder} is too long a path for Unix sockets; set TMPDIR to a shorter one")


async def _start_envoys(cleanup: AsyncExitStack, stack: Stack, binaries: dict[str, Path], say: Say) -> Scene:
    folder, socket = stack.folder, str(stack.sds_socket)
    port, back_port = free_ports(2)
    configs = {
        BACK: back(
            Back(
                BACK,
                str(folder / f"{BACK}.sock"),
                back_port,
                [stack.id(FRONT)],
                SdsSource(socket, SdsProtocol.DELTA, stack.id(BACK)),
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
            )
        ),
    }
    envoys: dict[str, Envoy] = {}
    for name, config in configs.items():
        envoys[name] = await Envoy.start(binaries[name], config, folder, name)
        cleanup.push_async_callback(envoys[name].stop)
        await envoys[name].ready()
        if not (await envoys[name].admin.secrets()).get(stack.id(name)):
            raise DemoError(f"The {name} Envoy got no certificate; {folder}/agent.log ends with:\n{_agent_tail(stack)}")
        say(f"{name}: Envoy, pid {envoys[name].child.pid}, has its certificate by SDS")
    return Scene(folder, stack, envoys[FRONT], envoys[BACK], f"http://{LOOPBACK}:{port}/", back_port)


def _agent_tail(stack: Stack) -> str:
    return stack.agent.tail() if stack.agent else ""

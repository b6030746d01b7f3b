"""An embedded server and one agent as child processes in one folder, started as production starts them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from sds.demo.errors import DemoError
from sds.demo.ports import LOOPBACK, free_ports
from sds.demo.process import Child
from sds.http.no_tls import NO_TLS

_READY_WITHIN = 30.0  # seconds
_POLL = 0.05  # seconds
PROGRAM = (sys.executable, "-m", "sds.cli.main")
"""The command `sds` of this very installation."""


@dataclass(slots=True)
class Stack:
    """`folder` must be short: Unix socket paths hold 107 bytes. `*_env` overrides configuration keys."""

    folder: Path
    trust_domain: str = "example.org"
    server_env: Mapping[str, str] = field(default_factory=dict)
    agent_env: Mapping[str, str] = field(default_factory=dict)
    agent_name: str = ""  # "": a random one
    agent_id: str = ""
    server: Child | None = None
    agent: Child | None = None
    ports: list[int] = field(default_factory=lambda: free_ports(2))

    @property
    def admin_socket(self) -> Path:
        """The server's admin API."""
        return self.folder / "server" / "admin.sock"

    @property
    def agent_admin_socket(self) -> Path:
        return self.folder / "agent" / "admin.sock"

    @property
    def sds_socket(self) -> Path:
        """Where sidecars connect."""
        return self.folder / "agent" / "sds.sock"

    def id(self, path: str) -> str:
        """A SPIFFE ID of this trust domain."""
        return f"spiffe://{self.trust_domain}/{path}"

    async def start_server(self) -> Child:
        """`sds server run`, and wait until it is ready; raises DemoError."""
        argv = [
            *(*PROGRAM, "server", "run", "--trust-domain", self.trust_domain),
            *("--data-dir", str(self.folder / "server"), "--admin-socket", str(self.admin_socket)),
            *("--listen", f"{LOOPBACK}:{self.ports[0]}", "--attest-listen", f"{LOOPBACK}:{self.ports[1]}"),
        ]
        self.server = await Child.start("server", argv, self.folder / "server.log", os.environ | dict(self.server_env))
        await self.ready(self.server, self.admin_socket)
        return self.server

    async def start_agent(self, within: float = _READY_WITHIN) -> Child:
        """`sds agent run`, with a new join token if it never attested, and wait until it is ready; raises DemoError."""
        bundle, token = self.folder / "bundle.pem", self.folder / "join-token"
        if not self.agent_id:
            bundle.write_text((await self.call("GET", "/v1/bundle?format=pem")).text)
            wanted = {"spiffe_id": self.id(f"sds/agent/{self.agent_name}")} if self.agent_name else {}
            joined = (await self.call("POST", "/v1/tokens", {"ttl_seconds": 120} | wanted)).json()
            self.agent_id = joined["spiffe_id"]
            token.touch(mode=0o600)
            token.write_text(joined["token"])
        argv = [
            *(*PROGRAM, "agent", "run", "--server", f"{LOOPBACK}:{self.ports[0]}"),
            *("--attest-server", f"{LOOPBACK}:{self.ports[1]}", "--trust-bundle", str(bundle)),
            *("--join-token-file", str(token), "--data-dir", str(self.folder / "agent")),
            *("--socket", str(self.sds_socket)),
        ]
        self.agent = await Child.start("agent", argv, self.folder / "agent.log", os.environ | dict(self.agent_env))
        await self.ready(self.agent, self.agent_admin_socket, within)
        return self.agent

    async def create_entry(self, path: str, selectors: Sequence[str], **more: Any) -> dict[str, Any]:
        """An entry for this stack's agent; `more` are further keys of the entry's JSON."""
        body = {"spiffe_id": self.id(path), "parent_id": self.agent_id, "selectors": list(selectors)} | more
        entry: dict[str, Any] = (await self.call("POST", "/v1/entries", body)).json()
        return entry

    async def streams(self) -> list[dict[str, Any]]:
        """The fleet view: what each sidecar was sent and has ACKed."""
        items: list[dict[str, Any]] = (await self.call("GET", "/v1/streams")).json()["streams"]
        return items

    async def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        """One call to the server's admin API; raises DemoError."""
        return await call(self.admin_socket, method, path, body)

    async def ready(self, child: Child, socket: Path, within: float = _READY_WITHIN) -> None:
        """Wait until the admin API on `socket` says that its process is ready; raises DemoError."""
        try:
            async with asyncio.timeout(within):
                while not await _answers(socket, "/ready"):
                    child.check()
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise DemoError(
                f"The {child.name} was not ready within {within:.0f} s; {child.log} ends with:\n{child.tail()}"
            ) from None

    async def stop(self) -> None:
        """The agent first, as in a shutdown of a whole machine."""
        for child in (self.agent, self.server):
            if child is not None:
                await child.stop()


async def call(socket: Path, method: str, path: str, body: object = None) -> httpx.Response:
    """One call to an admin API on a Unix socket; raises DemoError with the problem it told."""
    transport = httpx.AsyncHTTPTransport(uds=str(socket), verify=NO_TLS)
    async with httpx.AsyncClient(transport=transport, base_url="http://sds", timeout=10) as client:
        try:
            answer = await client.request(method, path, json=body)
        except httpx.HTTPError as problem:
            raise DemoError(f"{method} {path} on {socket} failed: {problem!r}") from problem
    if answer.is_error:
        raise DemoError(f"{method} {path} was refused with {answer.status_code}: {answer.text[:500]}")
    return answer


async def _answers(socket: Path, path: str) -> bool:
    try:
        await call(socket, "GET", path)
    except DemoError:
        return False
    return True

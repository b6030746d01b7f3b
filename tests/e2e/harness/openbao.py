"""A real OpenBao server (Vault's API) in dev mode, as an end-to-end test's relying party."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sds.demo.ports import LOOPBACK, free_ports
from sds.demo.process import Child

BAO = Path(sys.executable).with_name("bao")


@dataclass(frozen=True, slots=True)
class OpenBao:
    """Unsealed, with everything in memory; `root` is the root token."""

    url: str
    root: str

    async def call(self, path: str, body: dict[str, Any] | None = None, token: str | None = None) -> httpx.Response:
        """One call, as root unless another token is given; POST if there is a body."""
        async with httpx.AsyncClient(base_url=f"{self.url}/v1/", trust_env=False, timeout=20) as client:
            headers = {"X-Vault-Token": self.root if token is None else token}
            return await client.request("GET" if body is None else "POST", path, json=body, headers=headers)

    async def write(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self.call(path, body)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return dict(answer.json()) if answer.content else {}


@asynccontextmanager
async def openbao(folder: Path) -> AsyncIterator[OpenBao]:
    """Runs for as long as the block does."""
    (port,) = free_ports(1)
    root = secrets.token_hex(16)
    address = f"{LOOPBACK}:{port}"
    argv = [str(BAO), "server", "-dev", "-dev-no-store-token", f"-dev-listen-address={address}"]
    child = await Child.start("openbao", [*argv, f"-dev-root-token-id={root}"], folder / "openbao.log")
    bao = OpenBao(f"http://{address}", root)
    try:
        async with asyncio.timeout(30):
            while not await _ready(bao):
                child.check()
                await asyncio.sleep(0.05)
        yield bao
    finally:
        await child.stop()


async def _ready(bao: OpenBao) -> bool:
    try:
        return (await bao.call("sys/health", token="")).status_code == 200
    except httpx.HTTPError:
        return False

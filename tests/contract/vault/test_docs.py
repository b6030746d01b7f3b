"""docs/vault.md as an operator reads it: its commands set up a real Vault, and its configuration then logs in."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.masked import Masked
from sds.clock import SystemClock
from sds.config import load_server_config
from sds.server.wiring.vault import open_vault
from sds.vault.errors import VaultDenied, VaultUnavailable
from tests.fakes.pki import make
from tests.fakes.token_review import token_reviews
from tests.fakes.vault_client import Seen
from tests.fakes.vault_server import RAFT, VaultBinary, VaultServer, vault_server

PAGE = (Path(__file__).parents[3] / "docs/vault.md").read_text()


def block(heading: str, language: str) -> str:
    """The first block of a language below a heading."""
    below = PAGE.split(f"\n{heading}\n", 1)[1]
    found = re.search(rf"^```{language}\n(.*?)^```$", below, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


@dataclass(frozen=True)
class Operator:
    """Does what the page says, with a folder in place of /etc/sds."""

    server: VaultServer
    folder: Path

    def types(self, heading: str, **places: str) -> None:
        commands = block(heading, "console")
        script = "\n".join(line.removeprefix("$ ") for line in commands.splitlines())
        environment = os.environ | {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "VAULT_ADDR": self.server.url,
            "VAULT_CACERT": str(self.server.ca_file),
            "VAULT_TOKEN": self.server.root,
            "HOME": str(self.folder),
        }
        done = subprocess.run(
            ["bash", "-euc", self._placed(script, places)],
            check=False,
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def config(self, heading: str, more: str = "") -> str:
        text = block("## Connect", "toml") + block(heading, "toml") + more
        return self._placed(text, {"https://vault.example.org:8200": self.server.url})

    def _placed(self, text: str, places: dict[str, str]) -> str:
        for name, place in {"/etc/sds": str(self.folder), **places}.items():
            text = text.replace(name, place)
        return text


@pytest.fixture(scope="module")
def operator(vault_binary: VaultBinary, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """A Vault with TLS, its policy as on the page, and one secret inside and one outside of it."""
    folder = tmp_path_factory.mktemp("etc")
    with vault_server(vault_binary, tmp_path_factory.mktemp("vault") / "v", RAFT) as server:
        assert server.ca_file is not None
        (folder / "vault-ca.pem").write_bytes(server.ca_file.read_bytes())
        (folder / "sds.hcl").write_text(block("## What the server may do", "hcl"))
        (folder / "bin").mkdir()
        (folder / "bin" / "vault").symlink_to(vault_binary.path)
        made = Operator(server, folder)
        made.types("## What the server may do")
        server.write_blocking("sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
        server.write_blocking("kv/data/sds/db", {"data": {"password": "pa55"}})
        server.write_blocking("kv/data/other", {"data": {"password": "not ours"}})
        yield made


async def logs_in(operator: Operator, tmp_path: Path, toml: str) -> None:
    """By the server's own configuration and wiring; and may do what the policy says, and nothing else."""
    file = tmp_path / "server.toml"
    file.write_text("trust_domain = 'example.org'\n" + toml)
    config = load_server_config(file, {}, {}).vault

    def mint() -> Masked[str]:
        raise AssertionError("nobody asked for a JWT-SVID")

    client = open_vault(config, SystemClock(), Seen(), mint)
    assert client is not None
    try:
        own = (await client.request("GET", "auth/token/lookup-self")).data
        assert sorted(own["policies"]) == ["default", "sds"]
        assert (await client.request("GET", "kv/data/sds/db")).data["data"] == {"password": "pa55"}
        assert (await client.request("LIST", "kv/metadata/sds")).data["keys"] == ["db"]
        for method, path in (("GET", "kv/data/other"), ("POST", "kv/data/sds/db"), ("GET", "sys/mounts")):
            with pytest.raises(VaultDenied):
                await client.request(method, path, {"data": {}} if method == "POST" else None)
    finally:
        await client.close()


async def test_token_file(operator: Operator, tmp_path: Path) -> None:
    heading = "### A token in a file"
    operator.types(heading)
    await logs_in(operator, tmp_path, operator.config(heading))


async def test_approle(operator: Operator, tmp_path: Path) -> None:
    heading = "### AppRole"
    operator.types(heading)
    await logs_in(operator, tmp_path, operator.config(heading))

    wrapped = operator.server.call_blocking("auth/approle/role/sds/secret-id", {}, headers={"X-Vault-Wrap-TTL": "600"})
    (operator.folder / "vault-secret-id").write_text(wrapped.json()["wrap_info"]["token"])
    toml = operator.config(heading, "secret_id_wrapped = true\n")
    await logs_in(operator, tmp_path, toml)
    with pytest.raises(VaultUnavailable, match="somebody else has it"):
        await logs_in(operator, tmp_path, toml)


async def test_kubernetes(operator: Operator, tmp_path: Path) -> None:
    heading = "### Kubernetes"
    with token_reviews(tmp_path) as reviews:
        (operator.folder / "kubernetes-ca.pem").write_text(reviews.root_pem)
        (operator.folder / "reviewer-token").write_text(reviews.issue(0))
        pod_token = tmp_path / "token"
        pod_token.write_text(reviews.issue(1))
        operator.types(heading, **{"https://kubernetes.example.org": reviews.url})
        await logs_in(operator, tmp_path, operator.config(heading, f"token_file = '{pod_token}'\n"))


def client_certificate(write: Callable[[str, bytes], object]) -> None:
    now = datetime.now(UTC)
    life = {"before": now - timedelta(hours=1), "after": now + timedelta(days=1)}
    issuer = make("Clients", **life)
    usage = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    sans = [x509.DNSName("sds-server.example.org")]
    leaf = make("sds", issuer, ca=False, sans=sans, more=[usage], **life)
    write("clients-ca.pem", issuer.pem)
    write("vault-client.pem", leaf.pem)
    write("vault-client.key", leaf.key_pem)


async def test_certificate(operator: Operator, tmp_path: Path) -> None:
    heading = "### TLS certificate"
    client_certificate(lambda name, content: (operator.folder / name).write_bytes(content))
    (operator.folder / "vault-client.key").chmod(0o600)
    operator.types(heading)
    await logs_in(operator, tmp_path, operator.config(heading))

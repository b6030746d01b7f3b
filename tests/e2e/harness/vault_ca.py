"""What a server needs to have its keys, its key-encryption keys and its upstream in a test's Vault."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.vault_pki import PkiEngines
from tests.fakes.vault_server import VaultServer

DOCS = Path(__file__).parents[3] / "docs"
CA, KEK, VAULT = "SDS_SERVER_CA__", "SDS_SERVER_KEK__", "SDS_SERVER_VAULT__"
KEK_KEY = "sds-kek"


def documented_policy(page: str, **renamed: str) -> str:
    """The policy that a page of the documentation shows, with other mounts."""
    (text,) = re.findall(r"^```hcl\n(.*?)^```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    for mount, path in renamed.items():
        text = text.replace(f'"{mount}/', f'"{path}/')
    return str(text)


@dataclass(frozen=True, slots=True)
class VaultCa:
    """Engines and a token that may do what the documentation says, and nothing else."""

    vault: VaultServer
    transit: str
    pki: str
    token_file: Path

    @classmethod
    def set_up(cls, vault: VaultServer, folder: Path) -> VaultCa:
        """Blocks."""
        transit, pki = vault.mount("transit"), PkiEngines(vault).root()
        vault.write_blocking(f"{transit}/keys/{KEK_KEY}", {"type": "aes256-gcm96"})
        policies = [
            vault.policy(documented_policy("key-managers/vault-transit.md", transit=transit)),
            vault.policy(documented_policy("upstreams/vault-pki.md", pki=pki)),
            vault.policy(documented_policy("operations.md", transit=transit)),
        ]
        token_file = folder / "vault-token"
        token_file.touch(mode=0o600)
        token_file.write_text(vault.token("default", *policies))
        return cls(vault, transit, pki, token_file)

    @property
    def reach(self) -> dict[str, str]:
        found = {
            f"{VAULT}ADDRESS": self.vault.url,
            f"{VAULT}AUTH__TOKEN_FILE": str(self.token_file),
            f"{VAULT}TIMEOUT": "5s",
        }
        return found | ({f"{VAULT}CA_FILE": str(self.vault.ca_file)} if self.vault.ca_file else {})

    def keys(self, *, chosen: bool = True) -> dict[str, str]:
        found = {f"{CA}KEY_MANAGER__VAULT_TRANSIT__MOUNT": self.transit}
        return found | ({f"{CA}KEY_MANAGER__PLUGIN": "vault_transit"} if chosen else {})

    def kek(self, plugin: str = "vault_transit") -> dict[str, str]:
        return {f"{KEK}PLUGIN": plugin, f"{KEK}VAULT_TRANSIT__MOUNT": self.transit}

    @property
    def upstream(self) -> dict[str, str]:
        return {
            f"{CA}UPSTREAM__PLUGIN": "vault_pki",
            f"{CA}UPSTREAM__VAULT_PKI__MOUNT": self.pki,
            f"{CA}UPSTREAM__VAULT_PKI__POLL_INTERVAL": "500ms",
        }

    @property
    def everything(self) -> dict[str, str]:
        return self.reach | self.keys() | self.kek() | self.upstream

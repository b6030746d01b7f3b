"""PKI engines in a test's Vault, as a company would set them up."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.fakes.pki import Holder
from tests.fakes.vault_server import VaultServer

LONGEST = "87600h"


class Silent:
    """Implements sds.server.upstream.watch.UpstreamObserver."""

    def upstream_up(self, name: str, up: bool) -> None: ...

    def upstream_expires(self, name: str, not_after: datetime) -> None: ...


class PkiEngines:
    """Makes engines, each at a path of its own. Blocks."""

    def __init__(self, vault: VaultServer) -> None:
        self.vault = vault

    def root(self, **how: Any) -> str:
        """An engine with a root of its own for two years; `how` as in root/generate."""
        path = self._engine()
        self.vault.write_blocking(f"{path}/root/generate/internal", {"common_name": path, "ttl": "17520h", **how})
        return path

    def below_a_root(self, **how: Any) -> str:
        """An engine for 60 days below another's root, which it knows, too; `how` as in root/sign-intermediate."""
        root, path = self.root(), self._engine()
        request = self.vault.write_blocking(f"{path}/intermediate/generate/internal", {"common_name": path})["data"]
        body = {"csr": request["csr"], "ttl": "1440h", "common_name": path, **how}
        signed = self.vault.write_blocking(f"{root}/root/sign-intermediate", body)["data"]
        above = self.certificate(root)
        self.vault.write_blocking(
            f"{path}/intermediate/set-signed", {"certificate": signed["certificate"] + "\n" + above}
        )
        return path

    def imported(self, holder: Holder) -> str:
        """An engine with an issuer that was made elsewhere."""
        path = self._engine()
        bundle = (holder.key_pem + holder.pem).decode()
        self.vault.write_blocking(f"{path}/issuers/import/bundle", {"pem_bundle": bundle})
        return path

    def certificate(self, path: str, issuer: str = "default") -> str:
        """PEM."""
        return str(self.vault.read_blocking(f"{path}/issuer/{issuer}")["data"]["certificate"])

    def der(self, path: str, issuer: str = "default") -> bytes:
        return x509.load_pem_x509_certificate(self.certificate(path, issuer).encode()).public_bytes(Encoding.DER)

    def next_root(self, path: str) -> str:
        """A further root in the engine, which signs nothing yet; its id."""
        made = self.vault.write_blocking(
            f"{path}/root/rotate/internal", {"common_name": f"next {path}", "ttl": "17520h", "issuer_name": "coming"}
        )
        return str(made["data"]["issuer_id"])

    def use(self, path: str, issuer: str) -> None:
        """What signs from now on."""
        self.vault.write_blocking(f"{path}/root/replace", {"default": issuer})

    def _engine(self) -> str:
        path = self.vault.mount("pki")
        self.vault.write_blocking(f"sys/mounts/{path}/tune", {"max_lease_ttl": LONGEST})
        return path

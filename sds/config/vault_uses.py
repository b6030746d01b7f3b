"""Where the CA leans on Vault: the keys' engine, the key-encryption keys' key, and the engine above our authorities."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator

from sds.config.problems import Problem
from sds.config.types import Count, Duration, FilePath, Section, key
from sds.config.vault import VaultPath

if TYPE_CHECKING:
    from sds.config.server import ServerConfig

VAULT_TRANSIT, VAULT_PKI = "vault_transit", "vault_pki"
TRANSIT_KEY_TYPES = frozenset(("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"))
"""What is made in Transit engines (ca.key_managers.transit_keys)."""

_PREFIX = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?", re.ASCII)


def _prefix(value: object) -> str:
    if not isinstance(value, str) or not _PREFIX.fullmatch(value) or ".." in value:
        raise ValueError("is not a text of 1 to 32 letters, digits, '_', '-' and '.', the first a letter or digit")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value) or ".." in value:
        raise ValueError("is not a name of letters, digits, '_', '-' and '.'")
    return value


KeyPrefix = Annotated[str, BeforeValidator(_prefix)]
VaultName = Annotated[str, BeforeValidator(_name)]


class TransitKeysSection(Section):
    """A Transit engine of Vault. It may stay configured beside another plugin, for authorities whose keys it holds."""

    mount: VaultPath = key("Where the Transit engine is mounted.", default="", shown="none")
    key_prefix: KeyPrefix = key(
        "How the names of keys begin there; the trust domain, the purpose and a random number follow.", default="sds-"
    )


class TransitKekSection(Section):
    """The key in Vault that encrypts the key-encryption keys. Leave it configured until they have moved elsewhere."""

    mount: VaultPath = key("Where the Transit engine is mounted.", default="", shown="none")
    key: VaultName = key("Name of a key of type `aes256-gcm96`, made by you.", default="sds-kek")


class VaultPkiUpstreamSection(Section):
    """An authority in a PKI engine of Vault."""

    mount: VaultPath = key("Where the PKI engine is mounted.", default="", shown="none")
    issuer: VaultName = key("Which of its issuers signs: name or id.", default="default")
    path_length: Count | None = key(
        "How many levels of authorities may be below ours.",
        default=None,
        ge=0,
        le=8,
        shown="as many as the issuer allows",
    )
    bundle_file: FilePath | None = key(
        "All roots that are to be trusted (PEM). Without it: all issuers of the engine that are roots.",
        default=None,
        shown="none",
    )
    poll_interval: Duration = key(
        "How often the engine is looked at.",
        default=timedelta(seconds=10),
        ge=timedelta(milliseconds=100),
        le=timedelta(hours=1),
    )


def vault_problems(config: ServerConfig) -> list[Problem]:
    """What is missing where the CA leans on Vault, and what would wait for itself."""
    ca, kek = config.ca, config.kek
    leaning = {
        "ca.key_manager": ca.key_manager.plugin == VAULT_TRANSIT or bool(ca.key_manager.vault_transit.mount),
        "kek": kek.plugin == VAULT_TRANSIT or bool(kek.vault_transit.mount),
        "ca.upstream": ca.upstream.plugin == VAULT_PKI,
    }
    found = [
        Problem("vault.address", f"is needed for what {name} says")
        for name, leans in leaning.items()
        if leans and not config.vault.address
    ]
    if config.vault.auth.method == "jwt" and config.vault.address:
        found += [
            Problem("vault.auth.method", f"is jwt, but {name} keeps the key that signs this token in Vault")
            for name, leans in leaning.items()
            if leans and name != "ca.upstream"
        ]
    return found

"""Transit secrets engines: keys that sign for the CA, and one that encrypts the key-encryption keys."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol

from ca.errors import AuthorityUnavailable
from ca.key_managers.transit_keys import TransitKey, TransitKeyMissing, TransitKeyProblem, TransitScheme
from ca.masked import Masked
from sds.vault.answers import VaultAnswer
from sds.vault.errors import VaultError, VaultNotFound, VaultRefused

_SIGN: Mapping[TransitScheme, tuple[str, dict[str, Any]]] = {
    TransitScheme.ECDSA_SHA256: ("/sha2-256", {"prehashed": True, "marshaling_algorithm": "asn1"}),
    TransitScheme.ECDSA_SHA384: ("/sha2-384", {"prehashed": True, "marshaling_algorithm": "asn1"}),
    TransitScheme.PKCS1_SHA256: ("/sha2-256", {"prehashed": True, "signature_algorithm": "pkcs1v15"}),
    # RFC 7518 section 3.5: the salt is as long as the digest.
    TransitScheme.PSS_SHA256: (
        "/sha2-256",
        {"prehashed": True, "signature_algorithm": "pss", "salt_length": "hash"},
    ),
    TransitScheme.ED25519: ("", {}),
}
_MAX_VERSIONS = 1000
_NO_ENGINE = "no handler for route"
"""What Vault says of a path that no engine serves."""


class BlockingVault(Protocol):
    """What is needed of sds.vault.client.VaultClient."""

    def request_blocking(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> VaultAnswer: ...


class AsyncVault(Protocol):
    """What is needed of sds.vault.client.VaultClient."""

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> VaultAnswer: ...


class TransitKeys:
    """Implements ca.key_managers.transit.TransitOperations."""

    def __init__(self, vault: BlockingVault, mount: str) -> None:
        self._vault = vault
        self._mount = mount

    def create(self, name: str, kind: str) -> None:
        body = {"type": kind, "exportable": False, "allow_plaintext_backup": False}
        self._ask("PUT", f"keys/{name}", name, body)

    def read(self, name: str) -> TransitKey:
        return _key(name, self._ask("GET", f"keys/{name}", name))

    def sign(self, name: str, version: int, digests: Sequence[bytes], scheme: TransitScheme) -> list[bytes]:
        suffix, how = _SIGN[scheme]
        batch = [{"input": _b64(digest)} for digest in digests]
        answer = self._ask("PUT", f"sign/{name}{suffix}", name, {"batch_input": batch, "key_version": version, **how})
        results = answer.get("batch_results")
        if not isinstance(results, list):
            raise TransitKeyProblem(f"Vault's answer to a signature by key {name} is not understood")
        return [_signature(name, version, result) for result in results]

    def destroy(self, name: str) -> None:
        """Deletion is allowed for this moment only."""
        try:
            self._ask("PUT", f"keys/{name}/config", name, {"deletion_allowed": True})
            self._ask("DELETE", f"keys/{name}", name)
        except TransitKeyProblem:  # also said of a key that is gone
            with suppress(TransitKeyMissing):
                self.read(name)
                raise

    def _ask(self, method: str, path: str, name: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Raises TransitKeyProblem for what Vault says of this key, AuthorityUnavailable for all else.

        What is sent twice does what it does once, hence PUT.
        """
        engine = f"Vault's Transit engine {self._mount!r}"
        try:
            return self._vault.request_blocking(method, f"{self._mount}/{path}", body).data
        except VaultNotFound as error:
            if _NO_ENGINE in str(error):
                raise AuthorityUnavailable(f"{engine} cannot be used: there is none at this path") from error
            raise TransitKeyMissing(
                f"key {name} is not in {engine}: restore the backup of Vault that has it"
            ) from error
        except VaultRefused as error:
            raise TransitKeyProblem(f"{engine} refuses what was asked of key {name}: {error}") from error
        except VaultError as error:
            raise AuthorityUnavailable(f"{engine} cannot be used: {error}") from error


class TransitCipher:
    """A key of kind aes256-gcm96 that encrypts what must rest outside of Vault."""

    def __init__(self, vault: AsyncVault, mount: str, key: str) -> None:
        self._vault = vault
        self._mount = mount
        self._key = key

    @property
    def place(self) -> str:
        """For messages."""
        return f"the Transit key {self._mount}/{self._key}"

    async def encrypt(self, plaintext: Masked[bytes], context: bytes) -> str:
        """Opens only together with `context` (additional authenticated data). Raises VaultError."""
        body = {"plaintext": Masked(_b64(plaintext.reveal())), "associated_data": _b64(context)}
        answer = await self._vault.request("PUT", f"{self._mount}/encrypt/{self._key}", body)
        ciphertext = answer.data.get("ciphertext")
        if not isinstance(ciphertext, str) or not ciphertext.startswith("vault:v"):
            raise VaultRefused(f"{self.place} gave no ciphertext")
        return ciphertext

    async def decrypt(self, ciphertext: str, context: bytes) -> Masked[bytes]:
        """Raises VaultError."""
        body = {"ciphertext": ciphertext, "associated_data": _b64(context)}
        answer = await self._vault.request("PUT", f"{self._mount}/decrypt/{self._key}", body)
        try:
            return Masked(base64.b64decode(answer.data["plaintext"], validate=True))
        except (KeyError, TypeError, ValueError):
            # Not chained: the cause could show part of the answer.
            raise VaultRefused(f"{self.place} gave no plaintext") from None


def _key(name: str, data: Mapping[str, Any]) -> TransitKey:
    """Raises AuthorityUnavailable for what is no key."""
    try:
        public_keys = {
            int(version): str(shown["public_key"])
            for version, shown in islice(data["keys"].items(), _MAX_VERSIONS)
            if isinstance(shown, Mapping)
        }
        return TransitKey(
            name=name,
            kind=str(data["type"]),
            public_keys=public_keys,
            exportable=data["exportable"] is not False,
            plaintext_backup=data["allow_plaintext_backup"] is not False,
            imported=data.get("imported_key", False) is not False,
            derived=data["derived"] is not False,
            soft_deleted=data.get("soft_deleted", False) is not False,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TransitKeyProblem(f"what Vault says of key {name} is not understood: it is no key that signs") from error


def _signature(name: str, version: int, result: object) -> bytes:
    """Raises TransitKeyProblem."""
    if not isinstance(result, Mapping):
        raise TransitKeyProblem(f"Vault's answer to a signature by key {name} is not understood")
    if result.get("error"):
        raise TransitKeyProblem(f"Vault refuses to sign by key {name}: {str(result['error'])[:200]}")
    told, _, signature = str(result.get("signature", "")).rpartition(":")
    if told != f"vault:v{version}":
        raise TransitKeyProblem(f"Vault signed by another version of key {name} than {version}")
    try:
        return base64.b64decode(signature, validate=True)
    except binascii.Error as error:
        raise TransitKeyProblem(f"Vault's answer to a signature by key {name} is no base64") from error


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()

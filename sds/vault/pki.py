"""Certificates with their keys from Vault's PKI engine, for secrets that are issued there by a role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.masked import Masked
from sds.secrets.errors import SecretError, SecretMalformed
from sds.secrets.secret import PkiSource
from sds.vault.answers import VaultAnswer
from sds.vault.errors import VaultError, VaultRefused
from sds.vault.kv import secret_error

MAX_PEM = 64 * 1024  # bytes of one certificate or key
MAX_CHAIN = 10


class VaultRequests(Protocol):
    """See sds.vault.client.VaultClient."""

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> VaultAnswer: ...


@dataclass(frozen=True, slots=True, eq=False)
class Issued:
    """PEM, leaf first, without the root. `serial` in hex."""

    chain: Masked[bytes] = field(repr=False)
    private_key: Masked[bytes] = field(repr=False)
    serial: str
    not_after: datetime


class PkiEngine:
    """Asks for certificates. Vault makes the key, and does not keep it."""

    def __init__(self, vault: VaultRequests) -> None:
        self._vault = vault

    async def issue(self, source: PkiSource) -> Issued:
        """A new certificate. Raises SecretError."""
        body: dict[str, Any] = {"common_name": source.common_name, "format": "pem"}
        if source.dns_names:
            body["alt_names"] = ",".join(source.dns_names)
        if source.ttl is not None:
            body["ttl"] = f"{int(source.ttl.total_seconds())}s"
        try:
            answer = await self._vault.request("POST", f"{source.mount}/issue/{source.role}", body)
        except VaultRefused as error:  # the role does not allow these names, or there is no such role
            raise SecretMalformed(str(error)) from error
        except VaultError as error:
            raise secret_error(error) from error
        return read_issued(answer.data)


def read_issued(data: Mapping[str, Any]) -> Issued:
    """What was issued, as `sds.secrets.judge` wants it. Raises SecretMalformed, which quotes nothing."""
    leaf = _certificate(data.get("certificate"))
    above = data.get("ca_chain") or [data.get("issuing_ca")]
    if not isinstance(above, list) or len(above) > MAX_CHAIN:
        raise _odd("what signed it is no short list")
    chain = [leaf, *(one for one in map(_certificate, above) if one.issuer != one.subject)]
    return Issued(
        Masked(b"".join(one.public_bytes(Encoding.PEM) for one in chain)),
        Masked(_text(data.get("private_key"))),
        f"{leaf.serial_number:x}",
        leaf.not_valid_after_utc,
    )


def _certificate(pem: object) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_text(pem))
    except ValueError:
        raise _odd("a certificate cannot be read") from None


def _text(pem: object) -> bytes:
    if not isinstance(pem, str) or not 0 < len(pem) <= MAX_PEM or not pem.isascii():
        raise _odd("a part is missing, or is no PEM")
    return pem.strip().encode() + b"\n"


def _odd(why: str) -> SecretError:
    return SecretMalformed(f"what Vault has issued is not as it should be: {why}")

"""HashiCorp Vault or OpenBao: where it is, and how this server proves who it is."""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, model_validator

from sds.config.common import cross_check
from sds.config.problems import Problem
from sds.config.types import Address, Count, Duration, FilePath, Number, Section, key

VaultAuthName = Literal["token_file", "approle", "kubernetes", "jwt", "cert"]

_SECOND = timedelta(seconds=1)
_POD_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_NAME = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*", re.ASCII)
_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<where>(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?P<port>:[0-9]+)?)/?", re.ASCII
)
_LONGEST_URL = 512
_TEXT = re.compile(r"[\x21-\x7e]{1,255}")
_MEBIBYTE = 1024 * 1024
_NEEDED: dict[str, tuple[str, ...]] = {
    "token_file": ("token_file",),
    "approle": ("role_id", "secret_id_file"),
    "kubernetes": ("role",),
    "jwt": ("role", "audience"),
    "cert": ("cert_file", "key_file"),
}


def _url(value: object) -> str:
    if value == "":
        return ""
    if not isinstance(value, str):
        raise ValueError("is not a text, e.g. https://vault.example.org:8200")  # noqa: TRY004  pydantic reports ValueError only
    parts = _ADDRESS.fullmatch(value)
    if parts is None or len(value) > _LONGEST_URL:
        raise ValueError("is not https://HOST:PORT without a path, e.g. https://vault.example.org:8200")
    try:
        Address.parse(parts["where"] if parts["port"] else f"{parts['where']}:443")
    except ValueError as error:
        raise ValueError(f"is not https://HOST:PORT: its part after // {error}") from None
    if parts["scheme"] == "http" and not _loopback(parts["host"].strip("[]")):
        raise ValueError("must be https; http is only for an agent or proxy on a loopback address")
    return value.rstrip("/")


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _path(value: object) -> str:
    """Of a namespace or a mount: no segment may climb out of it."""
    if value == "":
        return ""
    if not isinstance(value, str) or not _NAME.fullmatch(value.strip("/")) or set(value.split("/")) & {".", ".."}:
        raise ValueError("is not a path of letters, digits, '-', '_' and '.', e.g. team/one")
    return value.strip("/")


def _plain(value: object) -> str:
    if value == "" or (isinstance(value, str) and _TEXT.fullmatch(value)):
        return str(value)
    raise ValueError("is not a text of 1 to 255 printable characters without blanks")


VaultUrl = Annotated[str, BeforeValidator(_url)]
VaultPath = Annotated[str, BeforeValidator(_path)]
PlainText = Annotated[str, BeforeValidator(_plain)]


class VaultAuthSection(Section):
    """How this server logs in. Files with secrets must be closed to other users; they are read again when needed."""

    method: VaultAuthName = key(
        "`token_file`: a token in a file, as Vault Agent writes one. `approle`. `kubernetes`: the pod's own token. "
        "`jwt`: a JWT-SVID for `spiffe://TRUST_DOMAIN/sds/server` that this server makes for itself and Vault trusts "
        "by `endpoints.oidc`. `cert`: a TLS client certificate.",
        default="token_file",
    )
    mount: VaultPath = key(
        "Where the auth method is mounted, without `auth/`.", default="", shown="the method's own name"
    )
    role: PlainText = key(
        "`kubernetes`, `jwt`, and where several fit `cert`: the role in Vault.", default="", shown="none"
    )
    token_file: FilePath | None = key(
        "`token_file`: the token; a new one is taken at once. `kubernetes`: the pod's token.",
        default=None,
        shown="`kubernetes`: /var/run/secrets/kubernetes.io/serviceaccount/token",
    )
    role_id: PlainText = key("`approle`: the role ID. It is not secret.", default="", shown="none")
    secret_id_file: FilePath | None = key("`approle`: file with the secret ID.", default=None, shown="none")
    secret_id_wrapped: bool = key(
        "`approle`: the file holds a response-wrapping token with the secret ID in it. It is unwrapped once and kept "
        "in memory, so that each start of the server needs a new one.",
        default=False,
    )
    audience: PlainText = key(
        "`jwt`: the audience of the token, as the role's `bound_audiences`.", default="", shown="none"
    )
    cert_file: FilePath | None = key("`cert`: certificate chain (PEM, leaf first).", default=None, shown="none")
    key_file: FilePath | None = key("`cert`: its private key (PEM, not encrypted).", default=None, shown="none")

    @property
    def mounted_at(self) -> str:
        """`mount`, or where Vault mounts the method by itself."""
        return self.mount or self.method

    @property
    def pod_token(self) -> Path:
        """`kubernetes`: the file with the pod's token."""
        return self.token_file or _POD_TOKEN

    @property
    def missing(self) -> list[str]:
        """The keys that `method` needs and that are not set."""
        return [name for name in _NEEDED[self.method] if not getattr(self, name)]


class VaultSection(Section):
    """HashiCorp Vault or OpenBao. TLS is always verified."""

    address: VaultUrl = key(
        "`https://HOST:PORT` of the active server or of what stands before all. `http://` only on a loopback address. "
        "Empty: there is no Vault.",
        default="",
        shown="none",
    )
    namespace: VaultPath = key("Namespace in which everything happens.", default="", shown="none")
    ca_file: FilePath | None = key(
        "Roots by which Vault's certificate is verified (PEM).", default=None, shown="the operating system's"
    )
    tls_server_name: PlainText = key(
        "Name that Vault's certificate must be for.", default="", shown="the host of `address`"
    )
    timeout: Duration = key("How long one request may take.", default=10 * _SECOND, ge=_SECOND, le=timedelta(minutes=2))
    max_retries: Count = key(
        "How often a request that failed is sent again where that is harmless, with growing pauses.",
        default=2,
        ge=0,
        le=10,
    )
    requests_per_second: Number = key(
        "Most requests a second. Signatures by keys in Vault have as many of their own.", default=50.0, gt=0, le=10_000
    )
    burst: Count = key("Requests at once after a time of silence.", default=50, ge=1, le=10_000)
    max_connections: Count = key("Requests under way at once.", default=8, ge=1, le=64)
    max_response_bytes: Count = key("Size of one answer.", default=8 * _MEBIBYTE, ge=64 * 1024, le=256 * _MEBIBYTE)
    auth: VaultAuthSection = VaultAuthSection()

    def problems(self, issuer: str | None) -> list[Problem]:
        """What stands against the whole, by full key; nothing where there is no Vault."""
        if not self.address:
            return []
        method = f'vault.auth.method = "{self.auth.method}"'
        found = [Problem(f"vault.auth.{name}", f"is needed for {method}") for name in self.auth.missing]
        if self.auth.method == "jwt" and issuer is None:
            found.append(Problem("jwt.issuer", f"is needed for {method}", "by it Vault finds our keys"))
        if self.auth.method == "cert" and self.address.startswith("http:"):
            found.append(Problem("vault.address", f"is not https, which is needed for {method}"))
        return found

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tls_server_name and self.address.startswith("http:"):
            cross_check([Problem("tls_server_name", "is set, but vault.address is not https")])
        return self

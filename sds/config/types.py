"""The kinds of value that configuration keys have. Every message is safe: none repeats the value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, PlainValidator

from attestation.errors import InvalidSpiffeId
from attestation.spiffe_id import TrustDomain
from ca.masked import Masked
from sds.durations import parse_duration

MAX_SOCKET_PATH = 100
"""sockaddr_un holds 107 bytes and a NUL (unix(7)); the rest is room for a temporary name beside it."""

_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A TCP address. Port 0 means any free port, which only a listener may ask for."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``127.0.0.1:8443``, ``server.example.org:8443`` or ``[::1]:8443``. Raises ValueError."""
        host, colon, port = text.strip().rpartition(":")
        if not colon or not _PORT.fullmatch(port) or int(port) > 65535:
            raise ValueError("is not host:port, e.g. 127.0.0.1:8443")
        if not host:
            raise ValueError("lacks the host; write 0.0.0.0:PORT or [::]:PORT to listen on every address")
        if host.startswith("[") and host.endswith("]"):
            return cls(str(ip_address(host[1:-1])), int(port))
        if ":" in host:
            raise ValueError("has an IPv6 address without brackets; write [::1]:8443")
        if not _HOST.fullmatch(host) or len(host) > 253:
            raise ValueError("has a host that is neither an IP address nor a DNS name")
        return cls(host, int(port))

    def next_port(self) -> Address:
        """The same host one port on; port 0 (any) stays 0."""
        return Address(self.host, self.port + 1 if self.port else 0)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(value: object) -> Address:
    if isinstance(value, Address):
        if value.port > 65535:
            raise ValueError("would be the next port, but there is none; set it")
        return value
    if not isinstance(value, str):
        raise ValueError("is not host:port, e.g. 127.0.0.1:8443")  # noqa: TRY004  pydantic reports ValueError only
    return Address.parse(value)


def _remote_address(value: object) -> Address:
    address = _address(value)
    if not address.port:
        raise ValueError("needs a port that one can connect to, not 0")
    return address


def _trust_domain(value: object) -> TrustDomain:
    if isinstance(value, TrustDomain):
        return value
    if not isinstance(value, str):
        raise ValueError("must be text, e.g. example.org")  # noqa: TRY004  pydantic reports ValueError only
    try:
        return TrustDomain.parse(value)
    except InvalidSpiffeId as error:
        raise ValueError(str(error)) from None


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("is not a number")  # noqa: TRY004  pydantic reports ValueError only
    return value


def _path(value: object) -> object:
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("is an empty path or has a NUL in it")
    return Path(value).expanduser() if isinstance(value, str | Path) else value


def _socket_path(value: object) -> object:
    path = _path(value)
    if isinstance(path, Path) and len(bytes(path.absolute())) > MAX_SOCKET_PATH:
        raise ValueError(f"is longer than the {MAX_SOCKET_PATH} bytes that a Unix socket's path may have")
    return path


def _mode(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        mode = value
    elif isinstance(value, str) and re.fullmatch(r"0?o?[0-7]{3}", value):
        mode = int(value[-3:], 8)
    else:
        raise ValueError('is not a file mode; write three octal digits in quotes, e.g. "0666"')
    if not 0o600 <= mode <= 0o777:
        raise ValueError("must be a file mode from 0600 to 0777")
    return mode


def _variable(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", value, re.ASCII):
        raise ValueError("is not the name of an environment variable")
    return value


_DATABASE_SCHEMES = {"sqlite": "sqlite", "postgresql": "postgresql", "postgresql+psycopg": "postgresql"}


def _database_url(value: object) -> Masked[str]:
    if isinstance(value, Masked):
        return value
    if not isinstance(value, str):
        raise ValueError("must be text, e.g. postgresql://user@host/database")  # noqa: TRY004  see above
    try:
        scheme = urlsplit(value).scheme
    except ValueError:
        raise ValueError("is not a URL, e.g. postgresql://user@host/database") from None
    if scheme not in _DATABASE_SCHEMES or "://" not in value:
        raise ValueError("must start with sqlite:/// or postgresql://")
    return Masked(value)


def _texts(value: object) -> object:
    """A list; in the environment, where there are none, its items with commas between them."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",")) if value.strip() else ()
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError('is not a list of texts, e.g. ["one", "two"]')
    return tuple(value)


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
ListenAddress = Annotated[Address, PlainValidator(_address), PlainSerializer(str)]
RemoteAddress = Annotated[Address, PlainValidator(_remote_address), PlainSerializer(str)]
TrustDomainName = Annotated[TrustDomain, PlainValidator(_trust_domain), PlainSerializer(str)]
Count = Annotated[int, BeforeValidator(_no_bool)]
Number = Annotated[float, BeforeValidator(_no_bool)]
FilePath = Annotated[Path, BeforeValidator(_path)]
SocketPath = Annotated[Path, BeforeValidator(_socket_path)]
FileMode = Annotated[int, PlainValidator(_mode)]
KeyTypeName = Literal["ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"]
AuthorityKeyTypeName = Literal[KeyTypeName, "mldsa-44", "mldsa-65", "mldsa-87"]
TextList = Annotated[tuple[str, ...], BeforeValidator(_texts)]
VariableName = Annotated[str, BeforeValidator(_variable)]
DatabaseUrl = Annotated[Masked[str], PlainValidator(_database_url), PlainSerializer(str)]


def tables_by_name(annotation: object) -> type[Section] | None:
    """For a key whose value is a table of tables, one for each name that the operator gives: what each of them is."""
    if get_origin(annotation) is not dict:
        return None
    section = get_args(annotation)[1]
    return section if isinstance(section, type) and issubclass(section, Section) else None


def key(about: str, *, shown: str | None = None, reload: bool = False, **rules: Any) -> Any:
    """One configuration key: its description, its rules (pydantic's), and whether SIGHUP re-reads it.

    `shown` is what the reference prints as the default where the real one is computed.
    """
    return Field(description=about, json_schema_extra={"shown": shown, "reload": reload}, **rules)


class Section(BaseModel):
    """A table of keys. Frozen; unknown keys are refused; input never appears in error texts."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
        defer_build=True,  # a server never validates an agent's
    )

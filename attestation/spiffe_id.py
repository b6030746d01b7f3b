"""SPIFFE IDs and trust domains, parsed once and strictly (SPIFFE-ID standard, sections 2.1 to 2.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from attestation.errors import InvalidSpiffeId

SCHEME = "spiffe://"
MAX_ID_BYTES = 2048  # SPIFFE-ID 2.3: longer ones need not be supported and SHOULD NOT be generated
MAX_TRUST_DOMAIN_BYTES = 255  # SPIFFE-ID 2.1, the host limit of RFC 3986

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, order=True)
class TrustDomain:
    """The root of trust that issues identities: the host part of a SPIFFE ID, lower case."""

    name: str

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidSpiffeId("trust domain is missing")
        if len(self.name) > MAX_TRUST_DOMAIN_BYTES:
            raise InvalidSpiffeId(f"trust domain is longer than {MAX_TRUST_DOMAIN_BYTES} bytes")
        if not _TRUST_DOMAIN.fullmatch(self.name):
            raise InvalidSpiffeId(
                "trust domain characters are limited to lower-case letters, digits, dots, dashes and underscores"
            )

    @classmethod
    def parse(cls, text: str) -> TrustDomain:
        """Read ``example.org`` or ``spiffe://example.org``. Raises InvalidSpiffeId."""
        return cls(text.removeprefix(SCHEME))

    @property
    def id(self) -> SpiffeId:
        """The trust domain's own SPIFFE ID, which has no path."""
        return SpiffeId(self, "")

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """``spiffe://<trust domain><path>``; the path is empty or starts with a slash."""

    trust_domain: TrustDomain
    path: str

    def __post_init__(self) -> None:
        if self.path:
            _check_path(self.path)
        if len(self.path) + len(self.trust_domain.name) + len(SCHEME) > MAX_ID_BYTES:
            raise InvalidSpiffeId(f"SPIFFE ID is longer than {MAX_ID_BYTES} bytes")

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """Read a SPIFFE ID. Raises InvalidSpiffeId with the clause that the text breaks."""
        if len(text) > MAX_ID_BYTES:
            raise InvalidSpiffeId(f"SPIFFE ID is longer than {MAX_ID_BYTES} bytes")
        if not text.startswith(SCHEME):
            raise InvalidSpiffeId("a SPIFFE ID starts with spiffe://")
        host, slash, rest = text[len(SCHEME) :].partition("/")
        return cls(TrustDomain(host), slash + rest)

    def member_of(self, trust_domain: TrustDomain) -> bool:
        """Whether this ID belongs to `trust_domain`."""
        return self.trust_domain == trust_domain

    def below(self, prefix: str) -> bool:
        """Whether the path equals `prefix` or lies under it by whole segments (``/a`` never covers ``/ab``)."""
        return self.path == prefix or self.path.startswith(prefix.rstrip("/") + "/")

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain.name}{self.path}"


def _check_path(path: str) -> None:
    """SPIFFE-ID 2.2: no empty, relative or percent-encoded segments, and no trailing slash."""
    if not path.startswith("/"):
        raise InvalidSpiffeId("path must start with a slash")
    for segment in path[1:].split("/"):
        if not segment:
            raise InvalidSpiffeId("path cannot have empty segments or a trailing slash")
        if segment in (".", ".."):
            raise InvalidSpiffeId("path cannot contain dot segments")
        if not _SEGMENT.fullmatch(segment):
            raise InvalidSpiffeId(
                "path segment characters are limited to letters, digits, dots, dashes and underscores"
            )

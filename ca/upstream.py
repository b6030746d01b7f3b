"""Where an authority's certificate comes from: made here, or signed by somebody above (the plugin family)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from attestation.spiffe_id import TrustDomain
from ca.keys import KeyType
from ca.signer import Signer


@dataclass(frozen=True, slots=True)
class Minted:
    """A signing certificate for an authority's key, all DER. Times are aware UTC in whole seconds.

    `chain` is what is sent after each leaf, nearest first: this certificate and those between it and the roots; empty
    where it is its own root. `roots` are what verifiers then have to trust instead, all that the upstream publishes;
    empty where it is its own root.
    """

    certificate: bytes = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)
    roots: tuple[bytes, ...] = field(repr=False)
    not_before: datetime
    not_after: datetime


class UpstreamAuthority(Protocol):
    """One way to get signing certificates."""

    @property
    def name(self) -> str:
        """The plugin's name, kept with each authority that it has certified (ca.authority.Authority.upstream)."""
        ...

    def check(self) -> None:
        """Whether it is known that nothing can be certified now. Asks nobody, so that it may be asked before a key is
        made. Raises AuthorityUnavailable.
        """
        ...

    async def mint(
        self, key: Signer, key_type: KeyType, trust_domain: TrustDomain, lifetime: timedelta, now: datetime
    ) -> Minted:
        """Certify `key` for `lifetime` or as long as the upstream allows, if that is less.

        What it returns has been judged: it names the trust domain, holds the key, and leads to one of its roots. Raises
        AuthorityUnavailable, with what to do.
        """
        ...

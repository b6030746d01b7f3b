"""Which certificates are to be replaced before their time, because of what the trust bundle says. Pure.

The bundle says it in three ways: an authority is in it no more, an authority is tainted, a serial is on its CRL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from ca.bundle import TrustBundle
from ca.errors import CaError, InvalidCrl
from ca.revocation import parse_crl
from ca.svid import X509Svid, parse_svid_pem
from ca.verify import verify_svid

SPREAD_SHARE = 10
"""The replacement of what is only tainted takes at most this part of what is left of a certificate's life."""
STEPS = 32
"""Moments that a spread is made of, so that thousands of certificates of one agent are few batches and few looks."""
URGENT = timedelta(seconds=1)
"""What nobody accepts any more is replaced within this time: at once, but not by all agents in the same instant."""

_END = b"-----END CERTIFICATE-----\n"


class Verdict(StrEnum):
    """Why a certificate is to be replaced."""

    TAINTED = "its authority is tainted"
    REVOKED = "it is revoked"
    UNTRUSTED = "its authority is not in the trust bundle"


@dataclass(frozen=True, slots=True)
class Doubts:
    """What a bundle takes back. `revoked` has the serials by authority ID, `lists` each CRL as it was read."""

    bundle: TrustBundle
    revoked: Mapping[str, frozenset[str]]
    lists: Mapping[bytes, tuple[str, frozenset[str]]]
    problems: tuple[str, ...] = ()

    def of(self, authority_id: str, serial: str) -> Verdict | None:
        """What the bundle says of a certificate whose chain leads into it."""
        if serial in self.revoked.get(authority_id, ()):
            return Verdict.REVOKED
        return Verdict.TAINTED if authority_id in self.bundle.tainted else None


@dataclass(frozen=True, slots=True)
class Leaf:
    """What is judged: a held certificate."""

    authority_id: str
    serial: str
    not_before: datetime
    not_after: datetime
    chain_pem: bytes = field(repr=False)

    @property
    def issuer(self) -> tuple[str, bytes]:
        """Equal for certificates that lead to an authority on the same path."""
        return self.authority_id, self.chain_pem.partition(_END)[2]


def read(bundle: TrustBundle, before: Doubts | None = None) -> Doubts:
    """Parse the CRLs of `bundle`, but for those that `before` has read. CPU work: call it in a thread.

    One that cannot be read says nothing here and is named in `problems`: sidecars get it as it is, and refuse it.
    """
    known = {} if before is None else before.lists
    lists: dict[bytes, tuple[str, frozenset[str]]] = {}
    problems = []
    for der in bundle.crls:
        try:
            lists[der] = known.get(der) or _parsed(der)
        except InvalidCrl as error:
            problems.append(str(error))
    revoked: dict[str, frozenset[str]] = {}
    for authority_id, serials in lists.values():
        revoked[authority_id] = revoked.get(authority_id, frozenset()) | serials
    return Doubts(bundle, MappingProxyType(revoked), MappingProxyType(lists), tuple(problems))


def judge(leaves: Mapping[str, Leaf], doubts: Doubts, now: datetime) -> dict[str, Verdict]:
    """Those of `leaves` that are to be replaced, and why. CPU work: call it in a thread.

    Each was verified when it came, so whether its path still leads into the bundle is tried once for each path. What is
    not valid now is no matter of trust.
    """
    leads: dict[tuple[str, bytes], bool] = {}
    found: dict[str, Verdict] = {}
    for name, leaf in leaves.items():
        if not leaf.not_before <= now <= leaf.not_after:
            continue
        trusted = leads.get(leaf.issuer)
        if trusted is None:
            trusted = leads[leaf.issuer] = _trusted(leaf, doubts.bundle, now)
        verdict = doubts.of(leaf.authority_id, leaf.serial) if trusted else Verdict.UNTRUSTED
        if verdict is not None:
            found[name] = verdict
    return found


def judge_svid(svid: X509Svid, doubts: Doubts, now: datetime) -> Verdict | None:
    """The same for one SVID."""
    try:
        verify_svid(svid, doubts.bundle, now)
    except CaError:
        return Verdict.UNTRUSTED
    return doubts.of(svid.authority_id, svid.serial)


def replace_at(verdict: Verdict, not_after: datetime, now: datetime, spread: timedelta, jitter: float) -> datetime:
    """When to ask for another one, by a `jitter` in [0, 1).

    A tainted authority's certificates work until the next authority signs and everybody has it, so they are replaced
    over `spread`, or over a tenth of the life that is left if that is less. What is refused already cannot wait.
    """
    if verdict is not Verdict.TAINTED:
        return now + URGENT * jitter
    left = max(not_after - now, timedelta(0)) / SPREAD_SHARE
    return now + min(spread, left) * ((int(jitter * STEPS) + 1) / STEPS)


def _parsed(der: bytes) -> tuple[str, frozenset[str]]:
    crl = parse_crl(der)
    return crl.issuer_key_id, crl.serials


def _trusted(leaf: Leaf, bundle: TrustBundle, now: datetime) -> bool:
    try:
        verify_svid(parse_svid_pem(leaf.chain_pem), bundle, now)
    except CaError:
        return False
    return True

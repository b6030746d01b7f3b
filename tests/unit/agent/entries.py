"""Entries and certificates for tests that need no real ones."""

from __future__ import annotations

from datetime import datetime, timedelta

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.selector import Selectors, parse_selectors
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import TrustBundle
from ca.masked import Masked
from sds.agent.cache.views import HeldSvid
from sds.agent.renewal import Held
from sds.delivery.resource import TlsCertificate
from sds.delivery.view import Identity
from tests.fakes.clock import EPOCH

TRUST_DOMAIN = TrustDomain("example.org")
AGENT = SpiffeId(TRUST_DOMAIN, "/sds/agent/1")


def entry(
    entry_id: str = "e1",
    *selectors: str,
    path: str | None = None,
    revision: int = 1,
    ttl: timedelta | None = None,
    dns: tuple[str, ...] = (),
    hint: str = "",
    created_at: datetime = EPOCH,
    expires_at: datetime | None = None,
) -> RegistrationEntry:
    return RegistrationEntry(
        id=entry_id,
        revision=revision,
        created_at=created_at,
        updated_at=created_at,
        spec=EntrySpec(
            spiffe_id=SpiffeId(TRUST_DOMAIN, path or f"/{entry_id}"),
            parent_id=AGENT,
            selectors=parse_selectors(selectors or ("unix:uid:1000",)),
            x509_svid_ttl=ttl,
            dns_names=dns,
            hint=hint,
            expires_at=expires_at,
        ),
    )


def held(of: RegistrationEntry, *, start: datetime = EPOCH, life: float = 3600.0) -> Held:
    end = start + timedelta(seconds=life)
    return Held(of, start, end, start + timedelta(seconds=life / 2))


def svid(of: RegistrationEntry, serial: str = "01", *, start: datetime = EPOCH, life: float = 3600.0) -> HeldSvid:
    """Looks like a certificate to everything that does not parse it."""
    times = held(of, start=start, life=life)
    text = f"{of.id} {serial}".encode()
    certificate = TlsCertificate(b"chain " + text, Masked(b"key " + text), serial, times.not_after)
    return HeldSvid(times, Identity(of.spiffe_id, certificate))


def bundle(sequence: int = 1) -> TrustBundle:
    return TrustBundle(TRUST_DOMAIN, (b"authority %d" % sequence,), sequence)


def selectors(*texts: str) -> Selectors:
    return parse_selectors(texts)

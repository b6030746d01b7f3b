"""Signs signing certificates below another one: for our own authorities under a company's, and for nested servers'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509

from attestation.spiffe_id import TrustDomain
from ca.chains.certificate import IssuerFacts, certificate_below
from ca.chains.checks import check_minted
from ca.errors import AuthorityUnavailable, CertificateMismatch
from ca.keys import PublicKey
from ca.lifetime import Validity, clamp
from ca.signer import Signer
from ca.template import ToBeSigned, sign_all
from ca.upstream import Minted

PROFILE = "intermediate"
"""How records name signing certificates; no leaf's profile is called so."""
MINIMUM = timedelta(minutes=1)
"""An issuer with less than this left signs only what ends by itself before that."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs: a certificate, its key, what it sends above a leaf (itself first, DER; nothing if it is a root), and
    the roots (DER) that it publishes. `validity` is for which all of that path is valid; `path_length` how many
    authorities it allows below each other, None for any number.
    """

    certificate: x509.Certificate
    signer: Signer = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)
    roots: tuple[bytes, ...] = field(repr=False)
    validity: Validity
    path_length: int | None = None


def path_length_below(path: Sequence[x509.Certificate]) -> int | None:
    """How many authorities may stand below each other under `path`'s first certificate, which the last is the root of;
    None for any number, less than 1 for none at all (RFC 5280 4.2.1.9).
    """
    limits = []
    for above, certificate in enumerate(path):
        limit = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        if limit is not None:
            limits.append(limit - sum(one.subject != one.issuer for one in path[:above]))
    return min(limits, default=None)


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked signing certificate that lacks its signature, and its facts."""

    unsigned: ToBeSigned = field(repr=False)
    validity: Validity
    public_key: PublicKey
    trust_domain: TrustDomain


def draft(
    issuer: Issuer,
    trust_domain: TrustDomain,
    public_key: PublicKey,
    serial: int,
    now: datetime,
    lifetime: timedelta,
    backdate: timedelta,
    *,
    path_length: int | None = None,
) -> Draft:
    """For `lifetime`, or as long as the issuer lasts. `path_length` is cut to what the issuer allows.

    `serial` is positive with at most 159 bits. Raises AuthorityUnavailable when the issuer is expired, about to expire,
    or allows no authority below it.
    """
    allowed = issuer.path_length
    if allowed is not None and allowed < 1:
        raise AuthorityUnavailable("the issuer allows no authority below it (path length)")
    validity = clamp(now, lifetime, issuer.validity, backdate=backdate, minimum=MINIMUM)
    limits = [limit for limit in (path_length, None if allowed is None else allowed - 1) if limit is not None]
    unsigned = certificate_below(
        IssuerFacts.of(issuer.certificate, issuer.signer.public_key),
        trust_domain,
        public_key,
        serial,
        validity,
        path_length=min(limits, default=None),
    )
    return Draft(unsigned, validity, public_key, trust_domain)


def sign(issuer: Issuer, wanted: Draft, now: datetime) -> Minted:
    """The only use of the issuer's key. Blocks on a remote one. Raises AuthorityUnavailable, also for a result that is
    not what was wanted: it must not leave.
    """
    (certificate,) = sign_all([wanted.unsigned], issuer.signer)
    validity = wanted.validity
    minted = Minted(certificate, (certificate, *issuer.chain), issuer.roots, validity.not_before, validity.not_after)
    try:
        check_minted(minted, wanted.public_key, wanted.trust_domain, now)
    except CertificateMismatch as error:
        raise AuthorityUnavailable(f"the signing certificate is not sound: {error}") from error
    return minted

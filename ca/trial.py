"""Tries certificate profiles before anybody relies on them, with keys that are thrown away.

What a profile is made of has been judged piece by piece (ca.limits); here whole certificates are issued by it, to its
limits, and read back and verified as their holders and peers would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from cryptography import x509

from attestation.spiffe_id import SpiffeId, TrustDomain
from attestation.subject import Attribute, format_subject
from ca.authority import SigningAuthority
from ca.chains.path import find_path
from ca.checks import THROW_AWAY_PATH, sample_keys
from ca.csr import VerifiedCsr
from ca.errors import CaError, IssuanceRefused
from ca.intent import IssuedCertificate, IssueRequest
from ca.issuer import Issuer, Prepared
from ca.keys import KeyType, generate
from ca.limits.names import ANY, NameLimits, Network
from ca.profile import SERVER_PATH, IssuancePolicy, Profile, ProfileName
from ca.self_signed import self_signed_authority
from ca.signer import LocalSigner
from ca.svid import parse_svid

_MARGIN = timedelta(days=1)
_PATHS = {
    ProfileName.WORKLOAD: "/throw-away",
    ProfileName.AGENT: THROW_AWAY_PATH,
    ProfileName.SERVER: SERVER_PATH,
}


def try_profile(profile: Profile, trust_domain: TrustDomain, now: datetime, serial_source: Callable[[], int]) -> None:
    """Raises IssuanceRefused, saying why, if certificates by `profile` could not be used.

    For each kind of key, with nothing asked for and with all that may be:

    1. The shortest, the default and the longest lifetime are issued by a throw-away authority that outlives them; what
       the issuer itself judges (ca.checks) holds.
    2. Holders can read them as an X.509-SVID of the identity (ca.svid).
    3. They lead to the authority at their beginning and at their end (ca.chains).

    Takes some 30 ms.
    """
    signing = _throw_away(profile, trust_domain, now, serial_source())
    issuer = Issuer(IssuancePolicy({profile.name: profile}), serial_source)
    keys = [csr for csr in sample_keys() if csr.kind in profile.keys]
    for request in _requests(profile, trust_domain, keys):
        try:
            issued = _issue(issuer, request, signing, now)
            svid = parse_svid(issued.chain)
            leaf = x509.load_der_x509_certificate(issued.der)
            for moment in (svid.not_before, svid.not_after):
                find_path([leaf], [signing.certificate], moment)
        except CaError as error:
            raise IssuanceRefused(f"a certificate by the profile {profile.name} is no good: {error}") from error
        if svid.spiffe_id != request.spiffe_id:
            raise IssuanceRefused(f"a certificate by the profile {profile.name} names somebody else")


def _throw_away(profile: Profile, trust_domain: TrustDomain, now: datetime, serial: int) -> SigningAuthority:
    signer = LocalSigner.of(generate(KeyType.ECDSA_P256))
    record = self_signed_authority(
        trust_domain,
        signer,
        key_ref="throw-away",
        key_type=KeyType.ECDSA_P256,
        serial=serial,
        now=now,
        lifetime=profile.max_ttl + _MARGIN,
    )
    return SigningAuthority.open(record.activated(now), signer)


def _issue(issuer: Issuer, request: IssueRequest, signing: SigningAuthority, now: datetime) -> IssuedCertificate:
    """Raises CaError."""
    (prepared,) = issuer.prepare([request], signing, now)
    if not isinstance(prepared, Prepared):
        raise prepared
    (issued,) = issuer.issue([prepared])
    if not isinstance(issued, IssuedCertificate):
        raise issued
    return issued


def _requests(profile: Profile, trust_domain: TrustDomain, keys: list[VerifiedCsr]) -> Iterator[IssueRequest]:
    spiffe_id = SpiffeId(trust_domain, _PATHS[profile.holder])
    dns_names, extra_sans = sample_names(profile.names)
    subject = _subject(profile)
    for csr in keys:
        for ttl in (None, profile.min_ttl, profile.max_ttl):
            yield IssueRequest(profile.name, spiffe_id, csr, (), ttl)
            yield IssueRequest(profile.name, spiffe_id, csr, dns_names, ttl, extra_sans, subject)


def sample_names(limits: NameLimits) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """DNS names and further names such as an entry may ask for: one for each pattern, network and domain."""
    dns_names = dict.fromkeys(_fitting(pattern) for pattern in limits.dns)
    if limits.wildcards:
        wild = [f"*{pattern.removeprefix('*')}" for pattern in limits.dns if pattern.startswith((".", "*."))]
        dns_names.update(dict.fromkeys(wild))
    extra = dict.fromkeys(f"ip:{_host(network)}" for network in limits.ip)
    extra.update(dict.fromkeys(f"email:throw-away@{_fitting(domain)}" for domain in limits.email))
    return tuple(dns_names)[: limits.max_dns], tuple(extra)


def _host(network: Network) -> str:
    """An address of the network that names a host; the first, which is then refused, if there is none."""
    for address in (network[-1], network[0], network[network.num_addresses // 2]):
        if not (address.is_multicast or address.is_unspecified):
            return str(address)
    return str(network[0])


def _fitting(pattern: str) -> str:
    """A name that a pattern for DNS names, or a domain, allows."""
    if pattern == ANY:
        return "throw-away.example"
    return f"throw-away.{pattern.lstrip('*.')}" if pattern.startswith(("*", ".")) else pattern


def _subject(profile: Profile) -> str:
    """Every attribute that an entry may set, at its full length."""
    return format_subject(
        Attribute(name, "DE" if name == "C" else "x" * length) for name, length in profile.subject.allowed.items()
    )

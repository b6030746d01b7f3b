"""Cross-signing: an older authority vouches for a new one, for relying parties that learn of the new one late.

The cross certificate has the new authority's subject, key and key identifier, and the old one as its issuer. Leaves
under the new authority are sent with it: who knows the new root stops there, and who knows only the old one goes on
through it.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509

from ca.authority import Authority, AuthorityKind, SigningAuthority
from ca.chains.certificate import IssuerFacts, certificate_below
from ca.chains.checks import check_signing_certificate
from ca.chains.path import find_path
from ca.errors import AuthorityUnavailable, CertificateMismatch, InvalidPath, IssuanceRefused
from ca.keys import PublicKey
from ca.lifetime import Validity
from ca.template import sign_all


def cross_signed_chain(new: Authority, old: SigningAuthority, serial: int, now: datetime) -> tuple[bytes, ...]:
    """What to send after each leaf of `new` from now on (Authority.chain), DER: its certificate by `old`, and what
    `old` sends itself.

    It is valid while both authorities are. `serial` is positive with at most 159 bits. Blocks on a remote key: call it
    off the event loop. Raises IssuanceRefused when these two cannot be joined, AuthorityUnavailable when the old key or
    the result is no good.
    """
    validity = _check(new, old, now)
    certificate = x509.load_der_x509_certificate(new.certificate)
    key = certificate.public_key()
    unsigned = certificate_below(
        IssuerFacts.of(old.certificate, old.signer.public_key),
        new.trust_domain,
        key,  # type: ignore[arg-type]  # an authority's key is of a kind that we make
        serial,
        validity,
        path_length=_path_length(certificate, old.certificate),
    )
    (cross,) = sign_all([unsigned], old.signer)
    chain = (cross, *old.authority.chain)
    try:
        _judge(chain, certificate, key, old, now)  # type: ignore[arg-type]  # see above
    except (CertificateMismatch, InvalidPath) as error:
        raise AuthorityUnavailable(f"authority {old.authority.id} made no sound cross certificate: {error}") from error
    return chain


def vouched_by(authority: Authority) -> str:
    """The ID of the authority that made the cross certificate in `authority`'s chain; empty where there is none."""
    if authority.kind is not AuthorityKind.X509 or authority.roots or not authority.chain:
        return ""
    cross = x509.load_der_x509_certificate(authority.chain[0])
    named = cross.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    return "" if named is None else named.hex()


def _check(new: Authority, old: SigningAuthority, now: datetime) -> Validity:
    """The time for which both are valid. Raises IssuanceRefused.

    1. Both are X.509 authorities of one trust domain, and two. 2. The new one is its own root: leaves below an upstream
    are verified by the upstream's roots. 3. Both are sound: what is tainted vouches for nobody. 4. Both are valid.
    """
    before = old.authority
    pair = f"authority {before.id} cannot vouch for {new.id}"
    if new.kind is not AuthorityKind.X509 or new.trust_domain != before.trust_domain or new.id == before.id:  # 1
        raise IssuanceRefused(f"{pair}: they are not two X.509 authorities of one trust domain")
    if new.roots:  # 2
        raise IssuanceRefused(f"{pair}, which is below an upstream")
    if before.tainted or before.revoked or new.tainted or new.revoked:  # 3
        raise IssuanceRefused(f"{pair}: one of them is tainted or revoked")
    validity = Validity(max(new.not_before, before.not_before), min(new.not_after, before.not_after))
    if not validity.covers(now):  # 4
        raise IssuanceRefused(f"{pair}: they are not both valid now")
    return validity


def _path_length(new: x509.Certificate, old: x509.Certificate) -> int | None:
    """As long as the new authority's own, and less than the old one's (RFC 5280 4.2.1.9)."""
    own, above = (one.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length for one in (new, old))
    below = None if above is None else max(above - 1, 0)
    return min((limit for limit in (own, below) if limit is not None), default=None)


def _judge(
    chain: tuple[bytes, ...], new: x509.Certificate, key: PublicKey, old: SigningAuthority, now: datetime
) -> None:
    """Raises CertificateMismatch or InvalidPath. A path length that is too short shows here."""
    certificate = check_signing_certificate(chain[0], key, old.authority.trust_domain)
    if certificate.subject.public_bytes() != new.subject.public_bytes():
        raise CertificateMismatch("its subject is not the new authority's")
    roots = [x509.load_der_x509_certificate(der) for der in old.authority.bundle_certificates]
    find_path([certificate, *map(x509.load_der_x509_certificate, old.authority.chain)], roots, now, issuing=True)

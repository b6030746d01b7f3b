"""Certification paths (RFC 5280 section 6), for what `cryptography`'s verifier does not know: authorities with other
keys than the web's, and name constraints on URIs. It is also the judge of what an upstream authority hands us.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from ca.chains.constraints import violation
from ca.errors import InvalidPath

MAX_PATH = 10

_DIGESTS = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        # Policies are nobody's business here; no policy is asked for, so any will do (RFC 5280 6.1.1 d, e).
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)


def find_path(
    chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], now: datetime, *, issuing: bool = False
) -> tuple[x509.Certificate, ...]:
    """The valid path from `chain`'s first certificate to one of `roots`, both included.

    Each certificate of `chain` is signed by the next one, as TLS sends them (RFC 8446 4.4.2); a root may sign any of
    them, and what follows is left out. `issuing` is as in `check_path`. Raises InvalidPath.
    """
    _check_readable([*chain, *roots])
    problem = ""
    for length in range(1, min(len(chain), MAX_PATH) + 1):
        below = tuple(chain[:length])
        for root in roots:
            if below[-1] == root:
                path = below
            elif below[-1].issuer == root.subject:
                path = (*below, root)
            else:
                continue
            try:
                check_path(path, now, issuing=issuing)
            except InvalidPath as error:
                problem = str(error)
            else:
                return path
    if not chain:
        raise InvalidPath("there is no certificate")
    raise InvalidPath(problem or f"{_name(chain[-1])} is not signed by any root that is trusted")


def _check_readable(certificates: Sequence[x509.Certificate]) -> None:
    """The library reads names when they are asked for, and may then find that they are none."""
    try:
        for certificate in certificates:
            _ = certificate.subject, certificate.issuer
    except Exception as error:  # whatever a parser throws at foreign bytes is a refusal
        raise InvalidPath("a certificate of the chain has a name that cannot be read") from error


def check_path(path: Sequence[x509.Certificate], now: datetime, *, issuing: bool = False) -> None:
    """Whether `path`, from a certificate to the root that is trusted, is valid now. Raises InvalidPath.

    With `issuing` the first certificate is an authority's, and has to be fit for leaves below it.

    1. Each certificate is within its validity (RFC 5280 6.1.3 a 2; the root's, too).
    2. Each is signed by the next with a sound digest, and names it (6.1.3 a 1, a 4).
    3. No critical extension is unknown (6.1.4 o, 6.1.5 f).
    4. Each but the first may sign certificates, and as many levels of them (6.1.4 k, l, m, n).
    5. The names of each lie within the constraints of all above it (6.1.3 b, c).
    6. Where an authority is limited to purposes, TLS's are among them.
    """
    for certificate in path:
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:  # 1
            raise InvalidPath(
                f"{_name(certificate)} is valid only from {certificate.not_valid_before_utc.isoformat()} "
                f"to {certificate.not_valid_after_utc.isoformat()}"
            )
    for certificate, issuer in pairwise(path):
        _check_signature(certificate, issuer)  # 2
    for depth, certificate in enumerate(path):
        extensions = _extensions(certificate)  # 3
        if depth or issuing:
            below = sum(one.subject != one.issuer for one in path[0 if issuing else 1 : depth])
            _check_issuing(certificate, extensions, below)  # 4
            _check_constraints(certificate, extensions, path[:depth])  # 5
            _check_purposes(certificate, extensions)  # 6


def _check_issuing(
    certificate: x509.Certificate, extensions: dict[x509.ObjectIdentifier, x509.ExtensionType], below: int
) -> None:
    """Whether it may sign certificates with `below` authorities between it and the leaf. Raises InvalidPath."""
    constraints = extensions.get(x509.BasicConstraints.oid)
    usage = extensions.get(x509.KeyUsage.oid)
    if not isinstance(constraints, x509.BasicConstraints) or not constraints.ca:
        raise InvalidPath(f"{_name(certificate)} is not an authority (CA is false)")
    if isinstance(usage, x509.KeyUsage) and not usage.key_cert_sign:
        raise InvalidPath(f"{_name(certificate)} may not sign certificates (key usage)")
    if constraints.path_length is not None and below > constraints.path_length:
        raise InvalidPath(
            f"{_name(certificate)} allows {constraints.path_length} authorities below it (path length); "
            f"here there are {below}"
        )


def _check_signature(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        digest = certificate.signature_hash_algorithm
        if digest is not None and not isinstance(digest, _DIGESTS):
            raise InvalidPath(f"{_name(certificate)} is signed with {digest.name}")
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise InvalidPath(f"{_name(certificate)} is not signed by {_name(issuer)}") from error


def _extensions(certificate: x509.Certificate) -> dict[x509.ObjectIdentifier, x509.ExtensionType]:
    try:
        found = list(certificate.extensions)
    except Exception as error:  # whatever a parser throws at foreign bytes is a refusal
        raise InvalidPath(f"the extensions of {_name(certificate)} cannot be read") from error
    for one in found:
        if one.critical and one.oid not in _UNDERSTOOD:
            raise InvalidPath(f"{_name(certificate)} has a critical extension that is not understood")
    return {one.oid: one.value for one in found}


def _check_constraints(
    certificate: x509.Certificate,
    extensions: dict[x509.ObjectIdentifier, x509.ExtensionType],
    below: Sequence[x509.Certificate],
) -> None:
    constraints = extensions.get(x509.NameConstraints.oid)
    if not isinstance(constraints, x509.NameConstraints):
        return
    for depth, one in enumerate(below):
        if depth and one.subject == one.issuer:  # self-issued, not the last: its own names do not count
            continue
        problem = violation(one, constraints)
        if problem:
            raise InvalidPath(f"{_name(certificate)} may not name what is below it: {problem} (name constraints)")


def _check_purposes(certificate: x509.Certificate, extensions: dict[x509.ObjectIdentifier, x509.ExtensionType]) -> None:
    """RFC 5280 4.2.1.12 speaks of leaves; OpenSSL and Windows hold authorities to it as well."""
    purposes = extensions.get(x509.ExtendedKeyUsage.oid)
    if not isinstance(purposes, x509.ExtendedKeyUsage) or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in purposes:
        return
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(purposes):
        raise InvalidPath(f"{_name(certificate)} is not for TLS servers and clients (extended key usage)")


def _name(certificate: x509.Certificate) -> str:
    """For messages: what people know a certificate by."""
    return f"the certificate {certificate.subject.rfc4514_string()!r}"

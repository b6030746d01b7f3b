"""X.509-SVIDs as their holder and their peer see them: read strictly, verified against a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.errors import InvalidSpiffeId
from attestation.spiffe_id import SpiffeId
from ca.bundle import to_pem
from ca.errors import CsrRefused, InvalidSvid
from ca.keys import check_foreign_key, key_hash
from ca.serial import SERIAL_BITS, serial_hex

MAX_CHAIN = 8
MAX_CERTIFICATE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class X509Svid:
    """A leaf and its intermediates (DER, leaf first, no root), with the leaf's facts. Times are aware UTC.

    `authority_id` is the hex of the leaf's authority key identifier (RFC 5280 section 4.2.1.1), which is the ID of the
    authority that issued it; empty where the leaf has none.
    """

    spiffe_id: SpiffeId
    serial: str
    not_before: datetime
    not_after: datetime
    key_hash: str
    chain: tuple[bytes, ...] = field(repr=False)
    authority_id: str = ""

    def pem(self) -> bytes:
        """The chain as PEM, leaf first."""
        return b"".join(to_pem(der) for der in self.chain)


def parse_svid(unverified_chain: Sequence[bytes]) -> X509Svid:
    """Read a DER chain and check that its leaf is an X.509-SVID (X509-SVID 5.2). Raises InvalidSvid.

    1. The chain is bounded.
    2. The leaf can be read; its version and serial number are such as it may have (RFC 5280 4.1.2.1, 4.1.2.2), and its
       key proves something.
    3. It is a leaf by constraints and key usage.
    4. Its one URI is a SPIFFE ID with a path.

    This does not verify who issued it: use `verify_svid`, or call it on what TLS has verified.
    """
    too_large = any(len(der) > MAX_CERTIFICATE_BYTES for der in unverified_chain)
    if not 1 <= len(unverified_chain) <= MAX_CHAIN or too_large:  # 1
        raise InvalidSvid("the certificate chain is empty or too long")
    try:
        leaf = x509.load_der_x509_certificate(unverified_chain[0])  # 2
        extensions = {extension.oid: extension.value for extension in leaf.extensions}
        key, _ = leaf.public_key(), (leaf.subject, leaf.issuer)  # the library reads names only when asked
        hash_of_key = key_hash(key)  # type: ignore[arg-type]  # every kind has a SubjectPublicKeyInfo
    except Exception as error:  # whatever a parser throws at foreign bytes is a refusal
        raise InvalidSvid("the leaf certificate cannot be read") from error
    if leaf.version is not x509.Version.v3 or not 0 < leaf.serial_number < 1 << SERIAL_BITS:
        raise InvalidSvid("the leaf is not of version 3, or its serial number is not positive or exceeds 20 octets")
    try:
        check_foreign_key(key)
    except CsrRefused as error:
        raise InvalidSvid(f"the leaf's key is refused: {error}") from error
    _check_leaf(extensions)  # 3
    return X509Svid(
        spiffe_id=_spiffe_id(extensions),  # 4
        serial=serial_hex(leaf.serial_number),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        key_hash=hash_of_key,
        chain=tuple(unverified_chain),
        authority_id=_authority_id(extensions),
    )


def parse_svid_pem(unverified_pem: bytes) -> X509Svid:
    """Read a PEM chain, leaf first. Raises InvalidSvid."""
    try:
        chain = [c.public_bytes(Encoding.DER) for c in x509.load_pem_x509_certificates(unverified_pem)]
    except Exception as error:  # whatever a parser throws at foreign bytes is a refusal
        raise InvalidSvid("the PEM certificate chain cannot be read") from error
    return parse_svid(chain)


def _check_leaf(extensions: dict[x509.ObjectIdentifier, x509.ExtensionType]) -> None:
    constraints = extensions.get(x509.BasicConstraints.oid)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        raise InvalidSvid("a signing certificate identifies nobody (X509-SVID 5.2)")
    usage = extensions.get(x509.KeyUsage.oid)
    if not isinstance(usage, x509.KeyUsage):
        raise InvalidSvid("the leaf has no key usage (X509-SVID 4.3)")
    if usage.key_cert_sign or usage.crl_sign or not usage.digital_signature:
        raise InvalidSvid("the leaf's key usage is not that of a leaf (X509-SVID 4.3, 5.2)")


def _authority_id(extensions: dict[x509.ObjectIdentifier, x509.ExtensionType]) -> str:
    issuer = extensions.get(x509.AuthorityKeyIdentifier.oid)
    named = isinstance(issuer, x509.AuthorityKeyIdentifier) and issuer.key_identifier
    return named.hex() if named else ""


def _spiffe_id(extensions: dict[x509.ObjectIdentifier, x509.ExtensionType]) -> SpiffeId:
    names = extensions.get(x509.SubjectAlternativeName.oid)
    uris = (
        names.get_values_for_type(x509.UniformResourceIdentifier)
        if isinstance(names, x509.SubjectAlternativeName)
        else []
    )
    if len(uris) != 1:
        raise InvalidSvid(f"the leaf has {len(uris)} URI names; an X.509-SVID has exactly one (X509-SVID 2)")
    try:
        spiffe_id = SpiffeId.parse(uris[0])
    except InvalidSpiffeId as error:
        raise InvalidSvid(f"the leaf's URI is not a SPIFFE ID: {error}") from error
    if not spiffe_id.path:
        raise InvalidSvid("a trust domain's ID identifies no leaf (X509-SVID 5.2)")
    return spiffe_id

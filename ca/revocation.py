"""Certificate revocation lists (RFC 5280 section 5): what is written for an authority, and what is read by who has one.

A list is written with the few DER forms of `ca.der`, because ten thousand entries must be built in a fraction of a
second; tests hold every octet against what `x509.CertificateRevocationListBuilder` makes of the same facts. It is read
by the library's strict parser.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import NamedTuple, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes

from ca import der
from ca.authority import Authority, SigningAuthority
from ca.errors import InvalidCrl
from ca.lifetime import floor_second
from ca.serial import SERIAL_BITS, serial_hex
from ca.signer import signature_algorithm
from ca.template import ToBeSigned, sign_all

MAX_CRL_BYTES = 4 * 1024 * 1024
MAX_REVOKED = 50_000
"""Entries of one list. More is no work for a list: an authority of which so much is revoked is itself to be revoked."""
SHORTEST = timedelta(days=1)
"""How long a list holds at least, should its issuer be at its end."""
MAX_NUMBER = (1 << 159) - 1  # RFC 5280 section 5.2.3: at most 20 octets

_V2 = der.integer(1)
_CRL_EXTENSIONS = 0xA0  # TBSCertList's explicit tag [0]
_ENUMERATED = 0x0A


class Reason(StrEnum):
    """Why a certificate is revoked (RFC 5280 section 5.3.1). Only a hold may be taken back."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key-compromise"
    CA_COMPROMISE = "ca-compromise"
    AFFILIATION_CHANGED = "affiliation-changed"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessation-of-operation"
    CERTIFICATE_HOLD = "certificate-hold"
    PRIVILEGE_WITHDRAWN = "privilege-withdrawn"

    @property
    def flag(self) -> x509.ReasonFlags:
        """The library's name for it."""
        return _FLAGS[self]


_FLAGS = {
    Reason.UNSPECIFIED: x509.ReasonFlags.unspecified,
    Reason.KEY_COMPROMISE: x509.ReasonFlags.key_compromise,
    Reason.CA_COMPROMISE: x509.ReasonFlags.ca_compromise,
    Reason.AFFILIATION_CHANGED: x509.ReasonFlags.affiliation_changed,
    Reason.SUPERSEDED: x509.ReasonFlags.superseded,
    Reason.CESSATION_OF_OPERATION: x509.ReasonFlags.cessation_of_operation,
    Reason.CERTIFICATE_HOLD: x509.ReasonFlags.certificate_hold,
    Reason.PRIVILEGE_WITHDRAWN: x509.ReasonFlags.privilege_withdrawn,
}
_REASONS = {flag: reason for reason, flag in _FLAGS.items()}


class Revoked(NamedTuple):
    """One revoked certificate. `serial` is ca.serial.serial_hex's form; `revoked_at` is aware UTC."""

    serial: str
    revoked_at: datetime
    reason: Reason = Reason.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Crl:
    """A list that has been read. `issuer_key_id` is the hex of its authority key identifier: the authority's id."""

    issuer_key_id: str
    number: int
    this_update: datetime
    next_update: datetime
    serials: frozenset[str] = field(repr=False)
    der: bytes = field(repr=False)

    def revoked(self) -> list[Revoked]:
        """The entries with their dates and reasons. An unknown reason is read as unspecified."""
        return [_entry(entry) for entry in x509.load_der_x509_crl(self.der)]

    def signed_by(self, unverified_certificate: bytes) -> bool:
        """Whether the authority of this DER certificate is the issuer and its key made the signature."""
        try:
            certificate = x509.load_der_x509_certificate(unverified_certificate)
            crl = x509.load_der_x509_crl(self.der)
            key = cast("CertificateIssuerPublicKeyTypes", certificate.public_key())  # any other raises
            return crl.issuer == certificate.subject and crl.is_signature_valid(key)
        except Exception:  # noqa: BLE001  # whatever a parser throws, nothing is proved
            return False


def crl_to_be_signed(
    signing: SigningAuthority, revoked: Iterable[Revoked], *, number: int, this_update: datetime, next_update: datetime
) -> ToBeSigned:
    """The TBSCertList of RFC 5280 section 5.1.2, by the order of serials. Raises ValueError for what no list may hold.

    1. Version 2; it is full and direct: all entries are certificates of the issuer.
    2. Without entries there is no list of them (5.1.2.6); an unspecified reason is left out (5.3.1).
    3. The extensions are the authority key identifier and the number (5.2.1, 5.2.3), which every list must have.
    """
    if not 0 <= number <= MAX_NUMBER:
        raise ValueError("a CRL number is not negative and has at most 20 octets")
    moment = cache(der.time)
    numbered = sorted((int(serial, 16), revoked_at, reason) for serial, revoked_at, reason in revoked)
    if len(numbered) > MAX_REVOKED:
        raise ValueError(f"{len(numbered)} certificates are more than the {MAX_REVOKED} that a CRL may list")
    header, sequence, integer, reasons = der.header, der.SEQUENCE, der.integer, _REASON_EXTENSIONS
    entries: list[bytes] = []
    for serial, revoked_at, reason in numbered:
        body = integer(serial) + moment(floor_second(revoked_at)) + reasons[reason]
        entries.append(header(sequence, len(body)) + body)
    extensions = (
        der.extension(x509.AuthorityKeyIdentifier(bytes.fromhex(signing.authority.id), None, None)),
        der.extension(x509.CRLNumber(number)),
    )
    return der.tlv(
        der.SEQUENCE,
        _V2,  # 1
        signature_algorithm(signing.signer.public_key),
        signing.subject,
        der.time(this_update),
        der.time(next_update),
        der.tlv(der.SEQUENCE, *entries) if entries else b"",  # 2
        der.tlv(_CRL_EXTENSIONS, der.tlv(der.SEQUENCE, *extensions)),  # 3
    )


def build_crl(signing: SigningAuthority, revoked: Iterable[Revoked], *, number: int, now: datetime) -> bytes:
    """A signed list, DER, as of `now`. A tainted authority still signs its own.

    It ends with its issuer (`nextUpdate`): verifiers refuse every certificate of an issuer whose list is past it, so a
    list that ended sooner would turn an outage of this server into one of all. Freshness comes by push instead.
    Raises AuthorityUnavailable, and ValueError as `crl_to_be_signed`.
    """
    unsigned = crl_to_be_signed(
        signing,
        revoked,
        number=number,
        this_update=floor_second(now),
        next_update=end_of(signing.authority, now),
    )
    (signed,) = sign_all([unsigned], signing.signer)
    return signed


def end_of(authority: Authority, now: datetime) -> datetime:
    """Until when a list of `now` holds."""
    return max(authority.not_after, floor_second(now) + SHORTEST)


def parse_crl(unverified_der: bytes) -> Crl:
    """Read a list. Raises InvalidCrl. Who signed it is another question: `Crl.signed_by`.

    1. It has a sane size and is one DER CertificateList of version 2 (RFC 5280 section 5.1).
    2. It has an authority key identifier with a key's identifier and a number, and no other extension: a delta list or
       one that is indirect or partitioned would be misread as all that its issuer has revoked (5.2).
    3. Its next update is later than this update (5.1.2.5).
    4. Each entry has a serial that a certificate may have, once, and no other extensions than a reason (5.3).
    """
    if len(unverified_der) > MAX_CRL_BYTES:  # 1
        raise InvalidCrl(f"the CRL has more than {MAX_CRL_BYTES} bytes")
    try:
        crl = x509.load_der_x509_crl(unverified_der)
        extensions = {extension.oid: extension.value for extension in crl.extensions}
        entries = [(entry.serial_number, [found.oid for found in entry.extensions]) for entry in crl]
        this_update, next_update = crl.last_update_utc, crl.next_update_utc
    except Exception as error:  # whatever a parser throws at foreign bytes is a refusal
        raise InvalidCrl("the CRL cannot be read") from error
    if not _version_2(crl.tbs_certlist_bytes):
        raise InvalidCrl("the CRL is not of version 2")
    key_id = extensions.pop(x509.AuthorityKeyIdentifier.oid, None)  # 2
    number = extensions.pop(x509.CRLNumber.oid, None)
    if not isinstance(key_id, x509.AuthorityKeyIdentifier) or not key_id.key_identifier:
        raise InvalidCrl("the CRL does not name its issuer's key")
    if not isinstance(number, x509.CRLNumber) or not 0 <= number.crl_number <= MAX_NUMBER:
        raise InvalidCrl("the CRL has no number that a CRL may have")
    if extensions:
        raise InvalidCrl("the CRL has extensions that a full, direct list does not have")
    if next_update is None or next_update <= this_update:  # 3
        raise InvalidCrl("the CRL does not say until when it holds")
    if any(not 0 < serial < 1 << SERIAL_BITS or oids not in _ENTRY_EXTENSIONS for serial, oids in entries):  # 4
        raise InvalidCrl("an entry of the CRL has a serial or an extension that it may not have")
    serials = frozenset(serial_hex(serial) for serial, _ in entries)
    if len(serials) != len(entries):
        raise InvalidCrl("the CRL names a certificate twice")
    return Crl(key_id.key_identifier.hex(), number.crl_number, this_update, next_update, serials, unverified_der)


def _version_2(tbs: bytes) -> bool:
    """The library reads the version of a list and does not look at it. `tbs` is sound DER."""
    start = 2 + (tbs[1] & 0x7F if tbs[1] & 0x80 else 0)
    return tbs.startswith(_V2, start)


def _entry(entry: x509.RevokedCertificate) -> Revoked:
    reason = Reason.UNSPECIFIED
    for extension in entry.extensions:
        if isinstance(extension.value, x509.CRLReason):
            reason = _REASONS.get(extension.value.reason, Reason.UNSPECIFIED)
    return Revoked(serial_hex(entry.serial_number), entry.revocation_date_utc, reason)


def _reason_extension(reason: Reason) -> bytes:
    """CrlEntryExtensions with the reason alone, or nothing at all."""
    return b"" if reason is Reason.UNSPECIFIED else der.tlv(der.SEQUENCE, der.extension(x509.CRLReason(reason.flag)))


_REASON_EXTENSIONS = {reason: _reason_extension(reason) for reason in Reason}
_ENTRY_EXTENSIONS: tuple[list[x509.ObjectIdentifier], ...] = ([], [x509.CRLReason.oid])

"""What an administrator names, in the one form that records have it in."""

from __future__ import annotations

import re

from attestation.entry import RESERVED_PATH
from attestation.errors import InvalidSpiffeId
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.revocation import Reason
from ca.serial import parse_serial, serial_hex
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services.revocations import RevocationOrder
from sds.store.revocation.records import BlockKind

_KEY_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_AUTHORITY = re.compile(r"[0-9a-f]{1,128}", re.ASCII)
_ENTRY = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def value_of(order: RevocationOrder, trust_domain: TrustDomain) -> str:
    """Raises InvalidInput."""
    problems = []
    value = ""
    try:
        value = _FORMS[order.kind](order.value, trust_domain)
    except ValueError as error:
        problems.append(FieldProblem("value", str(error)))
    if order.issuer and (order.kind is not BlockKind.SERIAL or not _AUTHORITY.fullmatch(order.issuer)):
        problems.append(FieldProblem("issuer", "is the ID of an authority, and goes with a serial only"))
    if order.reason is Reason.CERTIFICATE_HOLD and order.kind is BlockKind.AUTHORITY:
        problems.append(FieldProblem("reason", "an authority is revoked for good"))
    if problems:
        raise InvalidInput(problems)
    return value


def _serial(text: str, _: TrustDomain) -> str:
    try:
        return serial_hex(parse_serial(text))
    except ValueError:
        raise ValueError("is no serial number: hex digits, colons may stand between them") from None


def _spiffe_id(text: str, trust_domain: TrustDomain) -> str:
    spiffe_id = _member(text, trust_domain)
    if spiffe_id.below(RESERVED_PATH):
        raise ValueError(f"IDs below {RESERVED_PATH} are agents' and servers': revoke the agent, or a serial")
    return str(spiffe_id)


def _agent(text: str, trust_domain: TrustDomain) -> str:
    return str(_member(text, trust_domain))


def _member(text: str, trust_domain: TrustDomain) -> SpiffeId:
    try:
        spiffe_id = SpiffeId.parse(text)
    except InvalidSpiffeId as error:
        raise ValueError(str(error)) from None
    if not spiffe_id.member_of(trust_domain) or not spiffe_id.path:
        raise ValueError(f"is no SPIFFE ID below {trust_domain.id}")
    return spiffe_id


def _key(text: str, _: TrustDomain) -> str:
    digest = text.replace(":", "").lower()
    if not _KEY_HASH.fullmatch(digest):
        raise ValueError("is no key: the SHA-256 of its SubjectPublicKeyInfo, 64 hex digits")
    return digest


def _entry(text: str, _: TrustDomain) -> str:
    if not _ENTRY.fullmatch(text):
        raise ValueError("is no entry ID")
    return text


def _authority(text: str, _: TrustDomain) -> str:
    authority_id = text.replace(":", "").lower()
    if not _AUTHORITY.fullmatch(authority_id):
        raise ValueError("is no authority: its subject key identifier, hex digits")
    return authority_id


_FORMS = {
    BlockKind.SERIAL: _serial,
    BlockKind.SPIFFE_ID: _spiffe_id,
    BlockKind.KEY: _key,
    BlockKind.ENTRY: _entry,
    BlockKind.AGENT: _agent,
    BlockKind.AUTHORITY: _authority,
}

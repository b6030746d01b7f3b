"""From a secret's value to what delivery sends: one shape for each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC

from cryptography import x509

from ca.masked import Masked
from ca.serial import serial_hex
from sds.agent.errors import InvalidAnswer
from sds.delivery.resource import Content, GenericSecret, TicketKeys, TlsCertificate, TrustedCa
from sds.secrets.secret import SecretKind, SecretValue

TICKET_KEY_BYTES = 80
MAX_TICKET_KEYS = 16

_Fields = Mapping[str, Masked[bytes]]


def content_of(value: SecretValue) -> Content:
    """Raises InvalidAnswer when the fields are not those of the kind, or are not what clients would take."""
    return _SHAPES[value.kind](value, dict(value.fields))


def _generic(value: SecretValue, fields: _Fields) -> Content:
    if fields.keys() != {""}:
        raise InvalidAnswer("a generic secret has one value without a name")
    return GenericSecret(value.fields, value.version)


def _map(value: SecretValue, fields: _Fields) -> Content:
    if not fields or "" in fields:
        raise InvalidAnswer("each value of a map has a name")
    return GenericSecret(tuple(sorted(value.fields, key=lambda one: one[0])), value.version)


def _certificate(_value: SecretValue, fields: _Fields) -> Content:
    if fields.keys() != {"chain", "private_key"}:
        raise InvalidAnswer("a certificate has a chain and a private key")
    chain = fields["chain"].reveal()
    leaf = _certificates(chain)[0]
    return TlsCertificate(chain, fields["private_key"], serial_hex(leaf.serial_number), leaf.not_valid_after_utc)


def _ca_bundle(_value: SecretValue, fields: _Fields) -> Content:
    if fields.keys() != {"ca"}:
        raise InvalidAnswer("a CA bundle has certificates and nothing else")
    pem = fields["ca"].reveal()
    _certificates(pem)
    return TrustedCa(pem)


def _tickets(_value: SecretValue, fields: _Fields) -> Content:
    places = [str(place) for place in range(len(fields))]
    if not 0 < len(fields) <= MAX_TICKET_KEYS or fields.keys() != set(places):
        raise InvalidAnswer("session-ticket keys are named by their places from 0 on")
    keys = tuple(fields[place] for place in places)
    if any(len(key.reveal()) != TICKET_KEY_BYTES for key in keys):
        raise InvalidAnswer(f"a session-ticket key has {TICKET_KEY_BYTES} bytes")
    return TicketKeys(keys)


def _certificates(pem: bytes) -> list[x509.Certificate]:
    """At least one. Raises InvalidAnswer."""
    try:
        found = x509.load_pem_x509_certificates(pem)
        for certificate in found:
            certificate.not_valid_after_utc.astimezone(UTC)  # parsed no sooner than it is looked at
    except (ValueError, OverflowError):
        raise InvalidAnswer("its certificates cannot be read") from None
    return found


_SHAPES: Mapping[SecretKind, Callable[[SecretValue, _Fields], Content]] = {
    SecretKind.GENERIC: _generic,
    SecretKind.MAP: _map,
    SecretKind.CERTIFICATE: _certificate,
    SecretKind.CA_BUNDLE: _ca_bundle,
    SecretKind.TICKETS: _tickets,
}

"""Hostile authorities: what a bundle refuses to hold, in each of its forms."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping

import pytest

from attestation.spiffe_id import TrustDomain
from ca.bundle import make_bundle, parse_pem, parse_spiffe_json, to_pem
from ca.errors import InvalidBundle
from tests.unit.ca import der
from tests.unit.ca.hostile.certificates import (
    AUTHORITY,
    DNS,
    ROOT,
    UNKNOWN,
    constraints,
    key_usage,
    leaf,
    name,
    names,
    root,
    uri,
)

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")  # which production only warns of, too
TD = TrustDomain("example.org")


def changed(*extensions: bytes, **changes: object) -> bytes:
    """An authority with these extensions instead of its own."""
    return root(extensions=extensions, **changes)


KEY_ID = ROOT.key_id()
CA, SIGNS, NAMED = constraints(ca=True), key_usage(0x06, 1), names(uri(AUTHORITY))
REFUSED: Mapping[str, Callable[[], bytes]] = {
    "RSA of 16384 bits": lambda: root(spki=der.rsa_spki(1 << 16383 | 1, 65537)),
    "RSA of 1024 bits": lambda: root(spki=der.rsa_spki(1 << 1023 | 1, 65537)),
    "RSA exponent 1, by which anything is signed": lambda: root(spki=der.rsa_spki(1 << 2047 | 1, 1)),
    "RSA exponent 3": lambda: root(spki=der.rsa_spki(1 << 2047 | 1, 3)),
    "RSA exponent of 2000 bits": lambda: root(spki=der.rsa_spki(1 << 2047 | 1, 1 << 2000 | 1)),
    "even RSA modulus": lambda: root(spki=der.rsa_spki(1 << 2047, 65537)),
    "the identity of Ed25519": lambda: root(spki=der.ed25519_spki(b"\x01" + b"\0" * 31)),
    "a key that cannot be read": lambda: root(spki=der.tlv(der.SEQUENCE)),
    "negative serial": lambda: root(serial=der.integer(-1)),
    "version 1 with extensions": lambda: root(version=0),
    "unknown critical extension": lambda: root(der.extension(UNKNOWN, b"\x05\0", critical=True)),
    "constraints twice": lambda: root(constraints(ca=False)),
    "names twice": lambda: root(NAMED),
    "no constraints": lambda: changed(SIGNS, KEY_ID, NAMED),
    "not an authority": lambda: changed(constraints(ca=False), SIGNS, KEY_ID, NAMED),
    "may not sign certificates": lambda: changed(CA, key_usage(0x82, 1), KEY_ID, NAMED),
    "constraints that are no DER": lambda: changed(der.extension(der.BASIC_CONSTRAINTS, b"\x01"), SIGNS),
    "a leaf": leaf,
    "something behind": lambda: root() + b"\0",
    "nothing": lambda: b"",
}


def as_pem(made: bytes) -> object:
    return parse_pem(TD, to_pem(made))


def as_json(made: bytes) -> object:
    """The JWK beside the certificate is not what is trusted (X509-SVID 6.2)."""
    key = {"kty": "EC", "use": "x509-svid", "crv": "P-256", "x5c": [base64.b64encode(made).decode()]}
    return parse_spiffe_json(TD, json.dumps({"keys": [key]}).encode())


def as_it_is(made: bytes) -> object:
    return make_bundle(TD, [made])


@pytest.mark.parametrize("read", [as_pem, as_json, as_it_is])
def test_the_generator_makes_sound_authorities(read: Callable[[bytes], object]) -> None:
    assert read(root())
    assert read(
        root(der.extension("2.5.29.36", der.tlv(der.SEQUENCE, der.tlv(0x80, b"\0")), critical=True))
    )  # policies
    assert read(root(names(uri(AUTHORITY)), extensions=(CA, SIGNS, KEY_ID)))


@pytest.mark.parametrize("read", [as_pem, as_json, as_it_is])
@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_hostile_authorities_are_refused_quickly(read: Callable[[bytes], object], make: Callable[[], bytes]) -> None:
    made = make()
    started = time.thread_time()
    with pytest.raises(InvalidBundle):
        read(made)
    assert time.thread_time() - started < 1


def test_one_bad_authority_is_no_reason_to_trust_the_others() -> None:
    """A bundle is taken whole or not at all: half of one would look like a removal of the rest."""
    for good, bad in ((root(), root(serial=der.integer(-1))), (root(serial=der.integer(7)), leaf())):
        with pytest.raises(InvalidBundle):
            parse_pem(TD, to_pem(good) + to_pem(bad))


def test_names_of_an_authority_are_not_what_it_is_trusted_for() -> None:
    """The bundle's owner says for which trust domain it is; 10 kB of names change nothing."""
    many = names(uri("spiffe://other.example"), *[der.tlv(DNS, b"%055d.example.org" % n) for n in range(150)])
    made = root(extensions=(CA, SIGNS, KEY_ID, many), subject=name("server.sds.internal"))
    assert make_bundle(TD, [made]).trust_domain == TD

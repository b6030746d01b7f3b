"""JSON Web Keys: what is written is read back, by us and by others; what is odd is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jwt.algorithms
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.errors import InvalidJwk
from ca.jwk import base64url, from_base64url, from_jwk, to_jwk
from ca.keys import KeyType, PrivateKey, spki_der

P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
P521 = ec.generate_private_key(ec.SECP521R1())
RSA = rsa.generate_private_key(65537, 2048)
ED = ed25519.Ed25519PrivateKey.generate()
EC_JWK, RSA_JWK, ED_JWK = (to_jwk(key.public_key()) for key in (P256, RSA, ED))


@pytest.mark.parametrize("key", [P256, P384, P521, RSA, ED], ids=["P-256", "P-384", "P-521", "RSA", "Ed25519"])
def test_a_key_survives(key: Any) -> None:
    public = key.public_key()
    back = from_jwk({**to_jwk(public), "use": "sig", "kid": "x", "alg": "ignored", "key_ops": ["verify"]})
    assert back is not None
    assert spki_der(back) == spki_der(public)


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_another_implementation_writes_and_reads_the_same(curve: type[ec.EllipticCurve]) -> None:
    for _ in range(20):  # coordinates with leading zero octets are where implementations differ
        public = ec.generate_private_key(curve()).public_key()
        theirs: Any = jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True)
        assert to_jwk(public) == theirs
        assert from_jwk(theirs) == public
        assert jwt.algorithms.ECAlgorithm.from_jwk(json.dumps(to_jwk(public))) == public


def test_coordinates_have_their_full_size() -> None:
    """RFC 7518 6.2.1.2."""
    private = next(k for n in range(1, 3000) if (k := ec.derive_private_key(n, ec.SECP256R1())) and _short(k))
    x = to_jwk(private.public_key())["x"]
    assert len(from_base64url(x)) == 32
    assert from_jwk(to_jwk(private.public_key())) == private.public_key()


def _short(key: ec.EllipticCurvePrivateKey) -> bool:
    return key.public_key().public_numbers().x.bit_length() <= 248


def test_every_kind_of_authority_has_a_jwk(keys: Mapping[KeyType, PrivateKey]) -> None:
    for key in keys.values():
        assert to_jwk(key.public_key())["kty"]


@pytest.mark.parametrize("kind", [mldsa.MLDSA44PrivateKey, mldsa.MLDSA65PrivateKey, mldsa.MLDSA87PrivateKey])
def test_ml_dsa_is_written_and_not_read(kind: Any) -> None:
    public = kind.generate().public_key()
    written = to_jwk(public)
    assert written["kty"] == "AKP"
    assert written["alg"] == kind.__name__.replace("MLDSA", "ML-DSA-").removesuffix("PrivateKey")
    assert from_base64url(written["pub"]) == public.public_bytes_raw()
    assert from_jwk(written) is None


@pytest.mark.parametrize(
    "unknown",
    [
        {},
        {"kty": "oct"},
        {"kty": "ec"},
        {"kty": 7},
        {"kty": "EC", "crv": "secp256k1", "x": "", "y": ""},
        {"kty": "OKP", "crv": "X25519", "x": "AA"},
        {"kty": "OKP"},
        {"kty": "AKP"},
    ],
)
def test_unknown_kinds_are_told_apart_from_bad_ones(unknown: Mapping[str, object]) -> None:
    """Trust Domain and Bundle 4.2.1: they are ignored, not refused."""
    assert from_jwk(unknown) is None


def change(jwk: Mapping[str, str], **changes: object) -> dict[str, object]:
    return {name: value for name, value in {**jwk, **changes}.items() if value is not ...}


OTHER = to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())
BAD: Mapping[str, Mapping[str, object]] = {
    "private EC": change(EC_JWK, d="AA"),
    "private RSA": change(RSA_JWK, d="AA", p="AA", q="AA"),
    "private Ed25519": change(ED_JWK, d="AA"),
    "symmetric": {"kty": "oct", "k": "AAAA"},
    "no curve": change(EC_JWK, crv=...),
    "curve a number": change(EC_JWK, crv=256),
    "no x": change(EC_JWK, x=...),
    "x a number": change(EC_JWK, x=7),
    "x with padding": change(EC_JWK, x=EC_JWK["x"] + "="),
    "x in the other alphabet": change(EC_JWK, x="+/" + EC_JWK["x"][2:]),
    "x with a line break": change(EC_JWK, x=EC_JWK["x"] + "\n"),
    "x short": change(EC_JWK, x=base64url(b"\1" * 31)),
    "x long": change(EC_JWK, x=base64url(b"\0" + from_base64url(EC_JWK["x"]))),
    "x of another key": change(EC_JWK, x=OTHER["x"]),
    "zero point": change(EC_JWK, x=base64url(bytes(32)), y=base64url(bytes(32))),
    "beyond the field": change(EC_JWK, x=base64url(b"\xff" * 32)),
    "P-256 as P-384": change(EC_JWK, crv="P-384"),
    "RSA no n": change(RSA_JWK, n=...),
    "RSA n empty": change(RSA_JWK, n=""),
    "RSA n with a leading zero": change(RSA_JWK, n=base64url(b"\0" + from_base64url(RSA_JWK["n"]))),
    "RSA n of 1024 bits": change(RSA_JWK, n=base64url(b"\xc1" + b"\x55" * 126 + b"\x01")),
    "RSA n of 16384 bits": change(RSA_JWK, n=base64url(b"\xc1" * 2048)),
    "RSA n of a megabyte": change(RSA_JWK, n=base64url(b"\xc1" * (1 << 20))),
    "RSA exponent 1": change(RSA_JWK, e=base64url(b"\1")),
    "RSA exponent 3": change(RSA_JWK, e=base64url(b"\3")),
    "RSA exponent even": change(RSA_JWK, e=base64url(b"\1\0\0\0")),
    "Ed25519 short": change(ED_JWK, x=base64url(b"\1" * 31)),
    "Ed25519 of small order": change(ED_JWK, x=base64url(b"\1" + bytes(31))),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_key_is_refused(bad: Mapping[str, object]) -> None:
    with pytest.raises(InvalidJwk):
        from_jwk(bad)


@given(st.binary())
def test_base64url_has_one_spelling(data: bytes) -> None:
    text = base64url(data)
    assert from_base64url(text) == data
    for other in (text + "=", text + "A" if len(text) % 4 == 0 else text + "=="):
        with pytest.raises(ValueError, match="base64url"):
            from_base64url(other)


@given(st.text())
def test_any_text_is_bytes_or_refused(text: str) -> None:
    try:
        data = from_base64url(text)
    except ValueError:
        return
    assert base64url(data) == text


_MEMBER = st.none() | st.integers() | st.text(max_size=60) | st.sampled_from([*EC_JWK.values(), *RSA_JWK.values()])


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d"]), _MEMBER))
def test_any_members_are_a_key_or_refused(members: dict[str, object]) -> None:
    try:
        key = from_jwk(members)
    except InvalidJwk:
        return
    if key is not None:
        assert from_jwk(to_jwk(key)) == key


def test_a_kind_without_a_jwk() -> None:
    with pytest.raises(ValueError, match="kind"):
        to_jwk(ec.generate_private_key(ec.SECP256K1()).public_key())

"""Trust bundles: what we publish others can read, and what others send is read as the standards say."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import jwt.algorithms
import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.spiffe_id import TrustDomain
from ca.bundle import (
    DEFAULT_REFRESH_HINT,
    MAX_AUTHORITIES,
    MAX_BUNDLE_BYTES,
    MAX_KEYS,
    JwtKey,
    TrustBundle,
    make_bundle,
    parse_pem,
    parse_spiffe_json,
    to_pem,
)
from ca.errors import InvalidBundle
from ca.jwk import to_jwk
from ca.keys import KeyType, PrivateKey, spki_der
from tests.fakes.ca import CLASSICAL, make_authority, make_svid

TD = TrustDomain("example.org")
ONE, TWO = (make_authority().authority.certificate for _ in range(2))
LEAF = make_svid().issued.der


@pytest.fixture(scope="module")
def bundle(keys: Mapping[KeyType, PrivateKey]) -> TrustBundle:
    """One authority of each kind that others know."""
    ders = [make_authority(key=keys[kind], key_type=kind).authority.certificate for kind in CLASSICAL]
    return TrustBundle(TD, tuple(ders), 7, timedelta(minutes=2))


def entry(der: bytes, **changes: object) -> dict[str, Any]:
    jwk = to_jwk(x509.load_der_x509_certificate(der).public_key())
    whole = {"use": "x509-svid", **jwk, "x5c": [base64.b64encode(der).decode()], **changes}
    return {name: value for name, value in whole.items() if value is not ...}


def document(*keys: object, **more: object) -> bytes:
    return json.dumps({"keys": list(keys), **more}).encode()


def test_pem_survives(bundle: TrustBundle) -> None:
    back = parse_pem(TD, bundle.pem())
    assert back.x509_authorities == bundle.x509_authorities
    assert back.digest == bundle.digest


def test_json_survives(bundle: TrustBundle) -> None:
    assert parse_spiffe_json(TD, bundle.spiffe_json()) == bundle


def test_openssl_reads_our_pem(bundle: TrustBundle) -> None:
    command = ["openssl", "crl2pkcs7", "-nocrl", "-certfile", "/dev/stdin"]
    p7 = subprocess.run(command, input=bundle.pem(), capture_output=True, check=True).stdout
    text = subprocess.run(["openssl", "pkcs7", "-print_certs", "-noout"], input=p7, capture_output=True, check=True)
    assert text.stdout.count(b"subject=O = example.org") == len(CLASSICAL)


def test_our_pem_is_the_librarys_pem(bundle: TrustBundle) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    for der in bundle.x509_authorities:
        assert to_pem(der) == x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def test_what_we_publish_is_by_the_standard(bundle: TrustBundle) -> None:
    """Trust Domain and Bundle section 4; X509-SVID 6.1; keys against another implementation of RFC 7517."""
    published = json.loads(bundle.spiffe_json())
    assert published["spiffe_sequence"] == 7
    assert published["spiffe_refresh_hint"] == 120
    assert len(published["keys"]) == len(CLASSICAL)
    for key, der in zip(published["keys"], bundle.x509_authorities, strict=True):
        assert key["use"] == "x509-svid"
        assert "kid" not in key
        assert key["x5c"] == [base64.b64encode(der).decode()]
        public_key: Any = x509.load_der_x509_certificate(der).public_key()
        algorithm: Any = {
            "EC": jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256),
            "RSA": jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256),
            "OKP": jwt.algorithms.OKPAlgorithm(),
        }[key["kty"]]
        theirs = algorithm.to_jwk(public_key, as_dict=True)
        assert {name: key[name] for name in key if name not in ("use", "x5c")} == {
            name: value for name, value in theirs.items() if name != "key_ops"
        }


def test_an_empty_bundle_is_published_and_read() -> None:
    """Trust Domain and Bundle 4.1.3: `keys` must be present and may be empty, as after a revocation."""
    assert parse_spiffe_json(TD, TrustBundle(TD, ()).spiffe_json()).x509_authorities == ()


def test_keys_of_other_kinds_and_uses_are_ignored() -> None:
    """Trust Domain and Bundle 4.1.3, 4.2.1, 4.2.2: unknown kty and use."""
    ignored: list[object] = [
        entry(TWO, use="wit-svid"),
        entry(TWO, use="X509-SVID"),
        entry(TWO, use=...),
        entry(TWO, use=None),
        entry(TWO, use=["x509-svid"]),
        entry(TWO, kty=...),
        entry(TWO, kty=3),
        entry(TWO, x5c=...),
        entry(TWO, x5c=None),
        entry(TWO, x5c=[]),
        {},
        [],
        None,
        "key",
        7,
    ]
    parsed = parse_spiffe_json(TD, document(*ignored, entry(ONE), *ignored, other_parameter={"a": 1}))
    assert parsed.x509_authorities == (ONE,)
    assert parsed.jwt_keys == ()
    assert parsed.sequence == 0
    assert parsed.refresh_hint == DEFAULT_REFRESH_HINT


def test_of_a_kind_that_is_not_known_nothing_counts() -> None:
    """Trust Domain and Bundle 4.2.1: the whole entry is ignored, even if its certificate could be read, and even if it
    has a member that is a secret in other kinds.
    """
    odd = {"kty": "NEW", "use": "jwt-svid", "kid": "n", "k": "AAAA", "d": 7}
    ignored = [entry(ONE, kty="NEW"), entry(ONE, kty="ec"), entry(ONE, kty="oct"), entry(ONE, kty="NEW", x5c=7), odd]
    parsed = parse_spiffe_json(TD, document(*ignored, entry(TWO)))
    assert (parsed.x509_authorities, parsed.jwt_keys) == ((TWO,), ())


def test_the_members_beside_a_certificate_are_not_needed() -> None:
    """The certificate is what is used."""
    assert parse_spiffe_json(TD, document(entry(ONE, crv=..., x=..., y=...))).x509_authorities == (ONE,)


def test_only_the_first_of_several_certificates_counts() -> None:
    """X509-SVID 6.2."""
    x5c = [base64.b64encode(der).decode() for der in (ONE, TWO)]
    assert parse_spiffe_json(TD, document(entry(ONE, x5c=x5c))).x509_authorities == (ONE,)


def test_repeats_are_dropped_and_order_is_kept() -> None:
    assert parse_spiffe_json(TD, document(entry(TWO), entry(ONE), entry(TWO))).x509_authorities == (TWO, ONE)
    assert parse_pem(TD, to_pem(TWO) + to_pem(ONE) + to_pem(TWO)).x509_authorities == (TWO, ONE)


BAD_JSON: Mapping[str, bytes] = {
    "empty": b"",
    "not JSON": b"{",
    "not UTF-8": b"\xff\xfe\xfd",
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "no keys": b"{}",
    "keys null": b'{"keys": null}',
    "keys an object": b'{"keys": {}}',
    "x5c a text": document(entry(ONE, x5c="abc")),
    "x5c a number": document(entry(ONE, x5c=[7])),
    "x5c not base64": document(entry(ONE, x5c=["!!!"])),
    "x5c with line breaks": document(entry(ONE, x5c=[base64.encodebytes(ONE).decode()])),
    "x5c base64url": document(entry(ONE, x5c=[base64.b64encode(b"\xfb\xff" * 30).decode().replace("+", "-")])),
    "x5c not a certificate": document(entry(ONE, x5c=["AAAA"])),
    "x5c truncated": document(entry(ONE, x5c=[base64.b64encode(ONE[:-1]).decode()])),
    "x5c with a tail": document(entry(ONE, x5c=[base64.b64encode(ONE + b"\0").decode()])),
    "x5c a leaf": document(entry(LEAF)),
    "sequence negative": document(entry(ONE), spiffe_sequence=-1),
    "sequence a text": document(entry(ONE), spiffe_sequence="7"),
    "sequence a float": document(entry(ONE), spiffe_sequence=7.0),
    "sequence true": document(entry(ONE), spiffe_sequence=True),
    "sequence null": document(entry(ONE), spiffe_sequence=None),
    "sequence beyond 63 bits": document(entry(ONE), spiffe_sequence=2**63),
    "hint negative": document(entry(ONE), spiffe_refresh_hint=-1),
    "hint a float": document(entry(ONE), spiffe_refresh_hint=1.5),
    "hint beyond all years": document(entry(ONE), spiffe_refresh_hint=2**62),
    "hint not a number": b'{"keys": [], "spiffe_refresh_hint": NaN}',
    "huge number": b'{"keys": [], "spiffe_sequence": ' + b"9" * 10_000 + b"}",
    "too large": b'{"keys": []' + b" " * MAX_BUNDLE_BYTES + b"}",
    "too many keys": document(*[{}] * (MAX_KEYS + 1)),
}


@pytest.mark.parametrize("text", BAD_JSON.values(), ids=BAD_JSON)
def test_bad_json_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidBundle):
        parse_spiffe_json(TD, text)


def test_text_around_pem_is_allowed() -> None:
    """RFC 7468 section 2."""
    text = b"our root\nsubject=x\n" + to_pem(ONE) + b"\n# the next\n" + to_pem(TWO) + b"\n"
    assert parse_pem(TD, text).x509_authorities == (ONE, TWO)
    assert parse_pem(TD, text.replace(b"\n", b"\r\n")).x509_authorities == (ONE, TWO)


BAD_PEM: Mapping[str, bytes] = {
    "empty": b"",
    "text": b"hello",
    "DER": ONE,
    "a key": to_pem(ONE) + b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    "a trusted certificate": to_pem(ONE) + to_pem(TWO).replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"),
    "a leaf": to_pem(ONE) + to_pem(LEAF),
    "not base64": to_pem(ONE).replace(b"MII", b"!!!"),
    "truncated": to_pem(ONE)[:200],
    "no end": to_pem(ONE).replace(b"-----END CERTIFICATE-----", b""),
    "not a certificate": to_pem(b"\x30\x03\x02\x01\x00"),
    "a tail in DER": to_pem(ONE + b"\0"),
    "too large": to_pem(ONE) + b" " * MAX_BUNDLE_BYTES,
}


@pytest.mark.parametrize("text", BAD_PEM.values(), ids=BAD_PEM)
def test_bad_pem_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidBundle):
        parse_pem(TD, text)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_any_json_is_a_bundle_or_a_refusal(value: object) -> None:
    for text in (json.dumps(value), json.dumps({"keys": [value], "spiffe_sequence": value})):
        try:
            parse_spiffe_json(TD, text.encode())
        except InvalidBundle:
            continue


@pytest.mark.parametrize("length", range(0, len(ONE), 37))
def test_a_truncated_authority_is_refused(length: int) -> None:
    with pytest.raises(InvalidBundle):
        make_bundle(TD, [ONE[:length]])


def test_the_number_of_authorities_is_bounded() -> None:
    with pytest.raises(InvalidBundle, match=str(MAX_AUTHORITIES)):
        make_bundle(TD, [bytes([n % 256, n // 256]) for n in range(MAX_AUTHORITIES + 1)])


def test_the_digest_is_of_the_content() -> None:
    assert TrustBundle(TD, (ONE, TWO), 1).digest == TrustBundle(TD, (ONE, TWO), 2).digest
    different = {
        TrustBundle(TD, (ONE, TWO)).digest,
        TrustBundle(TD, (TWO, ONE)).digest,
        TrustBundle(TD, (ONE,)).digest,
        TrustBundle(TD, ()).digest,
        TrustBundle(TrustDomain("example.com"), (ONE, TWO)).digest,
    }
    assert len(different) == 5


# JWT keys


@pytest.fixture(scope="module")
def jwt_keys(keys: Mapping[KeyType, PrivateKey]) -> tuple[JwtKey, ...]:
    kinds = (KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.RSA_2048, KeyType.RSA_4096)
    return tuple(JwtKey(f"key-{kind}", spki_der(keys[kind].public_key())) for kind in kinds)


def jwt_entry(key: JwtKey, **changes: object) -> dict[str, Any]:
    whole: dict[str, Any] = {**key.jwk("jwt-svid"), **changes}
    return {name: value for name, value in whole.items() if value is not ...}


def test_jwt_keys_survive(jwt_keys: tuple[JwtKey, ...]) -> None:
    """JWT-SVID 6.1, 6.2."""
    bundle = TrustBundle(TD, (ONE,), 7, jwt_keys=jwt_keys)
    published = json.loads(bundle.spiffe_json())["keys"]
    assert [key["use"] for key in published] == ["x509-svid", *["jwt-svid"] * 4]
    assert [key.get("kid") for key in published] == [None, *(key.id for key in jwt_keys)]
    assert all("x5c" not in key and "alg" not in key for key in published[1:])
    assert parse_spiffe_json(TD, bundle.spiffe_json()) == bundle


_THEIRS = """
import json, sys
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from spiffe import JwtBundle, TrustDomain
keys = JwtBundle.parse(TrustDomain("example.org"), sys.stdin.buffer.read()).jwt_authorities
form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
print(json.dumps({kid: key.public_bytes(*form).hex() for kid, key in keys.items()}))
"""


def test_the_jwk_set_has_the_jwt_keys_alone(jwt_keys: tuple[JwtKey, ...]) -> None:
    """Workload API 6.2.2: a standard JWK Set without keys of other uses; read by two other implementations."""
    from jwt import PyJWKSet  # noqa: PLC0415

    jwks = TrustBundle(TD, (ONE,), jwt_keys=jwt_keys).jwks()
    assert {key["kid"] for key in json.loads(jwks)["keys"]} == {key.id for key in jwt_keys}
    ids = {key.key_id: spki_der(key.key) for key in PyJWKSet.from_json(jwks.decode()).keys}
    assert ids == {key.id: key.public_key for key in jwt_keys}
    # In a process of its own: the library's messages have the same names as ours, in one global registry.
    theirs = subprocess.run([sys.executable, "-P", "-c", _THEIRS], input=jwks, capture_output=True, check=True).stdout
    assert json.loads(theirs) == {kid: spki.hex() for kid, spki in ids.items()}
    assert json.loads(TrustBundle(TD, (ONE,)).jwks()) == {"keys": []}


def test_jwt_keys_that_sign_no_tokens_are_ignored(keys: Mapping[KeyType, PrivateKey]) -> None:
    ed25519 = {"use": "jwt-svid", "kid": "e", **to_jwk(keys[KeyType.ED25519].public_key())}
    unknown = {"use": "jwt-svid", "kid": "u", "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}
    assert parse_spiffe_json(TD, document(ed25519, unknown, entry(ONE))).jwt_keys == ()


def test_one_key_once_and_one_id_for_one_key(jwt_keys: tuple[JwtKey, ...]) -> None:
    one, two = jwt_keys[:2]
    assert parse_spiffe_json(TD, document(jwt_entry(one), jwt_entry(one))).jwt_keys == (one,)
    with pytest.raises(InvalidBundle, match="one ID"):
        parse_spiffe_json(TD, document(jwt_entry(one), jwt_entry(two, kid=one.id)))


@pytest.mark.parametrize(
    "changes",
    [
        {"kid": ...},
        {"kid": ""},
        {"kid": 7},
        {"kid": "a\nb"},
        {"kid": "k" * 257},
        {"x": ...},
        {"x": "AAAA"},
        {"d": "AAAA"},
    ],
)
def test_bad_jwt_keys_are_refused(jwt_keys: tuple[JwtKey, ...], changes: dict[str, object]) -> None:
    """JWT-SVID 6.1: kid MUST be set."""
    with pytest.raises(InvalidBundle, match="key 2"):
        parse_spiffe_json(TD, document(entry(ONE), jwt_entry(jwt_keys[0], **changes)))


def test_a_bundle_with_two_meanings_is_refused() -> None:
    """Trust Domain and Bundle 6.3."""
    with pytest.raises(InvalidBundle):
        parse_spiffe_json(TD, b'{"keys": [], "spiffe_sequence": 1, "spiffe_sequence": 2}')
    with pytest.raises(InvalidBundle):
        parse_spiffe_json(TD, b'{"keys": [{"use": "x509-svid", "use": "jwt-svid"}]}')

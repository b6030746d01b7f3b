"""JWT-SVIDs as somebody else would like them to be: every trick with a token that has been seen in the wild."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.spiffe_id import TrustDomain
from ca.bundle import JwtKey, TrustBundle
from ca.errors import InvalidJwtSvid
from ca.jwk import from_base64url, to_jwk
from ca.jws import JwtAlgorithm
from ca.jwt_svid import JwtSigningAuthority
from ca.jwt_verify import MAX_AUDIENCES, MAX_NAMELESS_KEYS, validate
from ca.keys import KeyType, PrivateKey, spki_der
from tests.fakes.ca import TRUST_DOMAIN
from tests.fakes.clock import EPOCH
from tests.fakes.jwt import AUDIENCE, b64, bundles_of, forge, issue_jwt, jwt_bundle, make_jwt_authority
from tests.unit.ca.jwt_verify_kit import AUTHORITY, BUNDLES, GOOD, LEEWAY, START, check, refused

STRANGER = make_jwt_authority()


def test_a_good_one_is_believed() -> None:
    svid = check(GOOD)
    assert str(svid.spiffe_id) == "spiffe://example.org/web"
    assert svid.claims["jti"] == "jti-1"
    assert check(forge(AUTHORITY)).claims["sub"] == "spiffe://example.org/web"


def test_what_it_says_is_not_in_its_repr() -> None:
    assert "jti" not in repr(check(GOOD))


# The header (JWT-SVID 2)


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", "", None, 7, ["ES256"], "HS256", "HS512", "EdDSA", "ES256K", "es256"]
)
def test_algorithms_beyond_the_list_are_refused(alg: object) -> None:
    """JWT-SVID 2.1."""
    refused(forge(AUTHORITY, header={"alg": alg}), "algorithm")
    refused(forge(AUTHORITY, header={"alg": alg}).rpartition(".")[0] + ".", "algorithm")


def test_a_token_without_a_signature_is_refused() -> None:
    refused(GOOD.rpartition(".")[0] + ".", "signature")
    refused(GOOD.rpartition(".")[0], "three parts")
    refused(forge(AUTHORITY, header={"alg": ...}), "algorithm")


@pytest.mark.parametrize("form", ["pem", "der", "jwk", "n"])
def test_a_public_key_is_no_mac_secret(form: str, keys: Mapping[KeyType, PrivateKey]) -> None:
    """Key confusion: signed by HMAC with what everybody knows, under each name that might be believed."""
    authority = make_jwt_authority(algorithm=JwtAlgorithm.RS256, key=keys[KeyType.RSA_2048])
    public: Any = authority.signer.public_key
    secret = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "der": spki_der(public),
        "jwk": json.dumps(to_jwk(public)).encode(),
        "n": from_base64url(to_jwk(public)["n"]),
    }[form]
    for name in ("HS256", "RS256", "PS256", "ES256"):
        unsigned = forge(authority, header={"alg": name}).rpartition(".")[0]
        mac = hmac.new(secret, unsigned.encode(), hashlib.sha256).digest()
        refused(f"{unsigned}.{b64(mac)}", bundles=bundles_of(authority))


def test_the_algorithm_must_go_with_the_key(keys: Mapping[KeyType, PrivateKey]) -> None:
    """RFC 8725 3.1: a P-256 key signs nothing by ES384, whatever the signature."""
    for kind, own in ((KeyType.ECDSA_P256, "ES256"), (KeyType.ECDSA_P384, "ES384"), (KeyType.RSA_2048, "RS256")):
        authority = make_jwt_authority(algorithm=JwtAlgorithm(own), key=keys[kind])
        assert check(forge(authority), bundles=bundles_of(authority))
        for name in set(JwtAlgorithm) - {JwtAlgorithm(own)}:
            refused(forge(authority, header={"alg": name}), "signature", bundles=bundles_of(authority))


def test_a_key_of_its_own_counts_for_nothing() -> None:
    """JWT-SVID 2: any other header MUST NOT be there; so an embedded key is not even looked at."""
    jwk = to_jwk(STRANGER.signer.public_key)
    for extra in (
        {"jwk": jwk},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/chain"},
        {"x5c": [base64.b64encode(b"x").decode()]},
        {"x5t": "AAAA"},
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False, "crit": ["b64"]},
        {"cty": "JWT"},
        {"zip": "DEF"},
        {"enc": "A256GCM"},
        {"anything": 1},
    ):
        refused(forge(STRANGER, header={"kid": AUTHORITY.authority.id, **extra}), "header")
        refused(forge(STRANGER, header={"kid": ..., **extra}), "header")
        refused(forge(AUTHORITY, header=extra), "header")


@pytest.mark.parametrize("typ", ["jwt", "at+jwt", "", 7, None, ["JWT"]])
def test_other_types_are_refused(typ: object) -> None:
    """JWT-SVID 2.3."""
    refused(forge(AUTHORITY, header={"typ": typ}), "type")


def test_both_types_and_none_are_good() -> None:
    for typ in ("JWT", "JOSE", ...):
        assert check(forge(AUTHORITY, header={"typ": typ}))


# The key (JWT-SVID 2.2, 4, 6.2)


def test_a_strangers_signature_is_refused_under_every_key_id() -> None:
    for kid in (AUTHORITY.authority.id, STRANGER.authority.id, "", ..., "../../etc/passwd", "' OR 1=1 --"):
        refused(forge(STRANGER, header={"kid": kid}))


@pytest.mark.parametrize("kid", [7, None, ["a"], {"a": 1}, True])
def test_a_key_id_is_a_text(kid: object) -> None:
    refused(forge(AUTHORITY, header={"kid": kid}), "key ID")


def test_without_a_key_id_all_keys_of_the_domain_are_tried() -> None:
    both = bundles_of(STRANGER, AUTHORITY)
    assert check(forge(AUTHORITY, header={"kid": ...}), bundles=both).key_id == AUTHORITY.authority.id
    assert check(forge(STRANGER, header={"kid": ...}), bundles=both).key_id == STRANGER.authority.id


def test_but_not_more_than_a_few() -> None:
    many = tuple(replace(STRANGER.key, id=f"k{n}") for n in range(MAX_NAMELESS_KEYS))
    bundle = {TRUST_DOMAIN: TrustBundle(TRUST_DOMAIN, (), jwt_keys=(AUTHORITY.key, *many))}
    refused(forge(AUTHORITY, header={"kid": ...}), "signature", bundles=bundle)
    assert check(forge(AUTHORITY), bundles=bundle)


def test_the_key_must_be_the_subjects_domains() -> None:
    """Workload API 6.3: a federated domain vouches for nobody but its own."""
    foreign = make_jwt_authority(TrustDomain("example.com"))
    everybody = bundles_of(AUTHORITY, foreign)
    assert check(forge(foreign), bundles=everybody)
    refused(forge(foreign, sub="spiffe://example.org/web"), "key", bundles=everybody)
    refused(forge(foreign, sub="spiffe://example.org/web", header={"kid": ...}), "signature", bundles=everybody)
    refused(forge(foreign), "no JWT keys of the trust domain example.com")


def test_a_domain_without_keys_has_no_tokens() -> None:
    """JWT-SVID 6.2; Trust Domain and Bundle 4.1.3: nothing left means nobody is trusted."""
    refused(GOOD, "no JWT keys", bundles={})
    refused(GOOD, "no JWT keys", bundles={TRUST_DOMAIN: TrustBundle(TRUST_DOMAIN, ())})


def test_a_key_past_its_time_verifies_nothing() -> None:
    spent = replace(AUTHORITY.key, not_after=EPOCH - LEEWAY)
    refused(GOOD, "key", bundles={TRUST_DOMAIN: TrustBundle(TRUST_DOMAIN, (), jwt_keys=(spent,))})
    timeless = replace(AUTHORITY.key, not_after=None)
    assert check(GOOD, bundles={TRUST_DOMAIN: TrustBundle(TRUST_DOMAIN, (), jwt_keys=(timeless,))})


@pytest.mark.parametrize("spki", [b"", b"rubbish"])
def test_a_key_that_cannot_be_read_verifies_nothing(spki: bytes) -> None:
    bundle = TrustBundle(TRUST_DOMAIN, (), jwt_keys=(JwtKey(AUTHORITY.authority.id, spki),))
    refused(GOOD, "signature", bundles={TRUST_DOMAIN: bundle})


def test_other_kinds_of_keys_verify_nothing(keys: Mapping[KeyType, PrivateKey]) -> None:
    public = keys[KeyType.ED25519].public_key()
    bundle = TrustBundle(TRUST_DOMAIN, (), jwt_keys=(JwtKey(AUTHORITY.authority.id, spki_der(public)),))
    refused(GOOD, "signature", bundles={TRUST_DOMAIN: bundle})


@pytest.mark.parametrize("name", ["ES512", "RS384", "RS512", "PS384", "PS512"])
def test_algorithms_that_we_never_sign_by_are_verified(name: str) -> None:
    """JWT-SVID 2.1: federated domains may use them."""
    from jwt.algorithms import get_default_algorithms  # noqa: PLC0415

    private: Any = ec.generate_private_key(ec.SECP521R1()) if name == "ES512" else rsa.generate_private_key(65537, 2048)
    header = b64(json.dumps({"alg": name, "kid": "k"}).encode())
    unsigned = f"{header}.{GOOD.split('.')[1]}"
    signature = get_default_algorithms()[name].sign(unsigned.encode(), private)
    bundle = TrustBundle(TRUST_DOMAIN, (), jwt_keys=(JwtKey("k", spki_der(private.public_key())),))
    assert check(f"{unsigned}.{b64(signature)}", bundles={TRUST_DOMAIN: bundle})
    refused(f"{unsigned}.{b64(signature[:-1] + bytes([signature[-1] ^ 1]))}", bundles={TRUST_DOMAIN: bundle})


def test_psychic_signatures_are_refused() -> None:
    """r = s = 0, and the other numbers beyond the group (CVE-2022-21449)."""
    unsigned = GOOD.rpartition(".")[0]
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for r, s in ((0, 0), (0, 1), (1, 0), (order, order), (order, 1), (2**256 - 1, 2**256 - 1)):
        refused(f"{unsigned}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}", "signature")


def test_a_signature_has_its_one_form() -> None:
    """RFC 7518 3.4: r and s in full, never DER."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature  # noqa: PLC0415

    unsigned, _, signature = GOOD.rpartition(".")
    raw = from_base64url(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    for other in (der, raw[:-1], raw + b"\0", b"\0" + raw, raw[:32] + b"\0" + raw[32:], b"", raw * 2):
        refused(f"{unsigned}.{b64(other)}", "signature")


# The claims (JWT-SVID 3)


@pytest.mark.parametrize(
    "sub",
    [
        None,
        7,
        "",
        [],
        ["spiffe://example.org/web"],
        "web",
        "https://example.org/web",
        "spiffe://example.org",
        "spiffe://example.org/",
        "spiffe://example.org/web/",
        "spiffe://example.org/../web",
        "spiffe://EXAMPLE.org/web",
        "spiffe://example.org/web?x=1",
        "spiffe://user@example.org/web",
        "SPIFFE://example.org/web",
        " spiffe://example.org/web",
        "spiffe://example.org/web\n",
        "spiffe://example.org/" + "a" * 3000,
    ],
)
def test_the_subject_is_a_workloads_spiffe_id(sub: object) -> None:
    """JWT-SVID 3.1."""
    refused(forge(AUTHORITY, sub=sub), "subject|SPIFFE")
    refused(forge(AUTHORITY, without=("sub",)), "subject")


@pytest.mark.parametrize(
    "aud",
    [
        None,
        "",
        [],
        [""],
        {},
        7,
        ["other"],
        "other",
        ["reports "],
        "Reports",
        [["reports"]],
        ["reports", 7],
        {"reports": 1},
        "reports,other",
    ],
)
def test_the_audience_must_be_ours(aud: object) -> None:
    """JWT-SVID 3.2."""
    refused(forge(AUTHORITY, aud=aud), "audience")
    refused(forge(AUTHORITY, without=("aud",)), "audience")


def test_an_audience_may_be_one_text_or_several() -> None:
    """RFC 7519 4.1.3."""
    assert check(forge(AUTHORITY, aud=AUDIENCE)).audience == (AUDIENCE,)
    assert check(forge(AUTHORITY, aud=["a", AUDIENCE])).audience == ("a", AUDIENCE)
    refused(forge(AUTHORITY, aud=[AUDIENCE] * (MAX_AUDIENCES + 1)), "audience")


def test_who_names_no_audience_is_told_nothing() -> None:
    refused(forge(AUTHORITY, aud=""), audience="")
    refused(forge(AUTHORITY, aud=[""]), audience="")


@pytest.mark.parametrize("exp", [None, "", str(START + 300), True, [START + 300], {}, 1e300, 10**300, -(10**300)])
def test_an_expiry_is_a_number_of_seconds(exp: object) -> None:
    """JWT-SVID 3.3, RFC 7519 2."""
    refused(forge(AUTHORITY, exp=exp), "exp")
    refused(forge(AUTHORITY, without=("exp",)), "expiry")


def test_times_and_their_leeway() -> None:
    """JWT-SVID 3.3, RFC 7519 4.1.4 to 4.1.6: exp is the first moment at which it is not good any more."""
    for name, good, bad in (
        ("exp", (START - 29, START - 29.5, START + 10**9), (START - 30, START - 30.0, 0, -1)),
        ("nbf", (START + 30, START, 0, -5), (START + 31, START + 30.5, 10**12)),
        ("iat", (START + 30, START, 0, -5), (START + 31, START + 30.5, 10**12)),
    ):
        for value in good:
            assert check(forge(AUTHORITY, **{name: value})), (name, value)
        for value in bad:
            refused(forge(AUTHORITY, **{name: value}), "expired|not valid yet|no time")
    for name in ("nbf", "iat"):
        for value in (None, "0", True, []):
            refused(forge(AUTHORITY, **{name: value}), name)


@settings(deadline=None)
@given(st.integers(-100, 100), st.integers(-100, 100), st.integers(0, 60))
def test_whoever_is_believed_is_within_its_time(exp: int, nbf: int, leeway: int) -> None:
    token = forge(AUTHORITY, exp=START + exp, nbf=START + nbf)
    try:
        validate(token, BUNDLES, AUDIENCE, EPOCH, timedelta(seconds=leeway))
    except InvalidJwtSvid:
        assert exp <= -leeway or nbf > leeway
    else:
        assert exp > -leeway
        assert nbf <= leeway


def test_a_removed_key_takes_its_tokens_along() -> None:
    """Revoking a JWT authority takes its key out of the bundle."""
    both, left = bundles_of(AUTHORITY, STRANGER), {TRUST_DOMAIN: jwt_bundle(STRANGER)}
    assert check(GOOD, bundles=both)
    refused(GOOD, "key", bundles=left)


def test_the_signing_authority_is_not_needed_to_verify(keys: Mapping[KeyType, PrivateKey]) -> None:
    """Only what the bundle says: its JSON is enough."""
    from ca.bundle import parse_spiffe_json  # noqa: PLC0415

    for kind, name in ((KeyType.ECDSA_P256, "ES256"), (KeyType.RSA_2048, "PS256")):
        authority: JwtSigningAuthority = make_jwt_authority(algorithm=JwtAlgorithm(name), key=keys[kind])
        read = parse_spiffe_json(TRUST_DOMAIN, jwt_bundle(authority).spiffe_json())
        assert check(issue_jwt(authority).token.reveal(), bundles={TRUST_DOMAIN: read})

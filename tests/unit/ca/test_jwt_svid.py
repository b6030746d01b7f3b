"""JWT-SVIDs as they are issued: what they say, what is refused, and that the key signs nothing unasked."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import AuthorityState
from ca.errors import AlreadyIssued, AuthorityUnavailable, CaError, InvalidJwtSvid, IssuanceRefused
from ca.jwk import from_base64url
from ca.jws import MAX_TOKEN_BYTES, JwtAlgorithm
from ca.jwt_svid import (
    KEY_TYPES,
    MAX_AUDIENCE_BYTES,
    MAX_AUDIENCES,
    IssuedJwtSvid,
    JwtIssuer,
    JwtPolicy,
    JwtRequest,
    JwtSigningAuthority,
    PreparedJwt,
    algorithm_for,
    check_audience,
)
from ca.jwt_verify import validate
from ca.keys import KeyType, PrivateKey, PublicKey, generate
from ca.signer import LocalSigner, Scheme
from tests.fakes.ca import make_authority
from tests.fakes.clock import EPOCH
from tests.fakes.jwt import AUDIENCE, bundles_of, counted_ids, issue_jwt, jwt_bundle, make_jwt_authority

WEB = SpiffeId.parse("spiffe://example.org/web")
AUTHORITY = make_jwt_authority()


@pytest.fixture(scope="module")
def authorities(keys: Mapping[KeyType, PrivateKey]) -> Mapping[JwtAlgorithm, JwtSigningAuthority]:
    """One of each algorithm."""
    return {one: make_jwt_authority(algorithm=one, key=keys[kind]) for one, kind in KEY_TYPES.items()}


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, payload, _ = token.split(".")
    return json.loads(from_base64url(header)), json.loads(from_base64url(payload))


@pytest.mark.parametrize("algorithm", KEY_TYPES)
def test_a_token_says_what_was_meant_and_others_verify_it(
    authorities: Mapping[JwtAlgorithm, JwtSigningAuthority], algorithm: JwtAlgorithm
) -> None:
    """JWT-SVID 2, 3, 4; the signature by another implementation of RFC 7515."""
    authority = authorities[algorithm]
    issued = issue_jwt(authority, policy=JwtPolicy(issuer="https://issuer.example.org"), ttl=timedelta(minutes=3))
    header, claims = parts(issued.token.reveal())
    start = int(EPOCH.timestamp())
    assert header == {"alg": algorithm, "kid": authority.authority.id, "typ": "JWT"}
    assert claims == {
        "iss": "https://issuer.example.org",
        "sub": "spiffe://example.org/web",
        "aud": [AUDIENCE],
        "exp": start + 180,
        "iat": start,
        "jti": "jti-1",
    }
    options: Any = {"verify_exp": False, "verify_iat": False}
    public: Any = authority.signer.public_key
    theirs = jwt.decode(issued.token.reveal(), public, [algorithm], options, audience=AUDIENCE)
    assert theirs == claims


@pytest.mark.parametrize("algorithm", KEY_TYPES)
def test_we_verify_it(authorities: Mapping[JwtAlgorithm, JwtSigningAuthority], algorithm: JwtAlgorithm) -> None:
    authority = authorities[algorithm]
    issued = issue_jwt(authority)
    svid = validate(issued.token.reveal(), bundles_of(authority), AUDIENCE, EPOCH)
    assert (svid.spiffe_id, svid.key_id) == (WEB, authority.authority.id)
    assert (svid.audience, svid.expires_at) == (issued.intent.audience, issued.intent.expires_at)


def test_without_an_issuer_there_is_no_iss() -> None:
    assert "iss" not in parts(issue_jwt(AUTHORITY).token.reveal())[1]


def test_the_audience_of_one_set_is_one() -> None:
    one, two = (issue_jwt(AUTHORITY, audience=audience) for audience in (("b", "a"), ("a", "b", "a")))
    assert one.intent.audience == two.intent.audience == ("a", "b")
    assert parts(one.token.reveal())[1]["aud"] == ["a", "b"]


def test_each_token_has_an_id_of_its_own() -> None:
    issuer = JwtIssuer(JwtPolicy(), counted_ids())
    assert [issue_jwt(AUTHORITY, issuer=issuer).intent.token_id for _ in range(3)] == ["jti-1", "jti-2", "jti-3"]


BAD_AUDIENCES: Mapping[str, Sequence[str]] = {
    "none": (),
    "empty": ("",),
    "one empty": ("a", ""),
    "too many": tuple(f"a{n}" for n in range(MAX_AUDIENCES + 1)),
    "too long": ("a" * (MAX_AUDIENCE_BYTES + 1),),
    "too long in UTF-8": ("\u00e9" * MAX_AUDIENCE_BYTES,),
    "too long together": tuple(f"{n}" + "a" * 1000 for n in range(5)),
    "a line break": ("a\nb",),
    "an escape": ("\x1b[31m",),
    "a NUL": ("a\0",),
    "a lone surrogate": ("\ud800",),
    "blank": (" ",),
    "blanks around": (" a",),
    "an odd blank": ("a\u00a0",),
    "right to left": ("\u202ea",),
}


@pytest.mark.parametrize("audience", BAD_AUDIENCES.values(), ids=BAD_AUDIENCES)
def test_bad_audiences_are_refused(audience: Sequence[str]) -> None:
    """JWT-SVID 3.2."""
    with pytest.raises(IssuanceRefused, match="audience"):
        check_audience(audience)
    with pytest.raises(IssuanceRefused):
        issue_jwt(AUTHORITY, audience=tuple(audience))


@settings(deadline=None)
@given(st.lists(st.text(max_size=40), max_size=MAX_AUDIENCES + 2))
def test_any_audience_is_in_the_token_or_refused(audience: list[str]) -> None:
    try:
        issued = issue_jwt(AUTHORITY, audience=tuple(audience))
    except IssuanceRefused:
        return
    token = issued.token.reveal()
    assert len(token) <= MAX_TOKEN_BYTES
    for one in audience:
        assert set(validate(token, bundles_of(AUTHORITY), one, EPOCH).audience) == set(audience)


def test_the_largest_token_is_still_read() -> None:
    audience = tuple(chr(0x4E00 + n) * (4096 // 16 // 3) for n in range(16))
    issued = issue_jwt(AUTHORITY, f"spiffe://example.org/{'a' * 2000}", audience)
    assert validate(issued.token.reveal(), bundles_of(AUTHORITY), audience[0], EPOCH)


@pytest.mark.parametrize(
    "spiffe_id",
    [
        "spiffe://example.com/web",
        "spiffe://example.org",
        "spiffe://example.org/sds",
        "spiffe://example.org/sds/agent/a",
        "spiffe://example.org/sds/server",
    ],
)
def test_some_have_no_tokens(spiffe_id: str) -> None:
    """JWT-SVID 3.1: workloads of this trust domain; agents and servers prove themselves by certificates."""
    with pytest.raises(IssuanceRefused):
        issue_jwt(AUTHORITY, spiffe_id)


def test_lifetimes() -> None:
    policy = JwtPolicy(timedelta(minutes=5), timedelta(seconds=30), timedelta(hours=1))
    assert policy.lifetime(None) == timedelta(minutes=5)
    assert policy.lifetime(timedelta(minutes=7)) == timedelta(minutes=7)
    assert policy.lifetime(timedelta(days=7)) == timedelta(hours=1)
    with pytest.raises(IssuanceRefused, match="30s"):
        policy.lifetime(timedelta(seconds=29))
    for wrong in ({"min_ttl": timedelta(0)}, {"min_ttl": timedelta(hours=2)}, {"max_ttl": timedelta(minutes=1)}):
        with pytest.raises(ValueError, match="lifetimes"):
            replace(policy, **wrong)
    with pytest.raises(ValueError, match="issuer"):
        JwtPolicy(issuer="x" * 1025)


@settings(deadline=None)
@given(st.integers(30, 10_000), st.integers(1, 100_000), st.integers(0, 100_000), st.integers(0, 999_999))
def test_a_token_never_outlives_its_authority(ttl: int, life: int, age: int, micros: int) -> None:
    authority = make_jwt_authority(key=KEY, lifetime=timedelta(seconds=life))
    now = EPOCH + timedelta(seconds=age, microseconds=micros)
    try:
        intent = issue_jwt(authority, ttl=timedelta(seconds=ttl), now=now).intent
    except AuthorityUnavailable:
        assert authority.authority.not_after - now < timedelta(seconds=10)
        return
    assert now - timedelta(seconds=1) < intent.issued_at <= now < intent.expires_at <= authority.authority.not_after
    assert intent.expires_at - intent.issued_at <= timedelta(seconds=min(ttl, 3600) + 1)


KEY = generate(KeyType.ECDSA_P256)


@pytest.mark.parametrize(
    "changes",
    [
        {"state": AuthorityState.PREPARED},
        {"state": AuthorityState.OLD},
        {"tainted": True},
        {"revoked": True},
        {"not_after": EPOCH - timedelta(seconds=1)},
        {"not_before": EPOCH + timedelta(seconds=1)},
    ],
)
def test_only_an_active_and_sound_authority_signs(changes: dict[str, Any]) -> None:
    unusable = replace(AUTHORITY, authority=replace(AUTHORITY.authority, **changes))
    issuer = JwtIssuer(JwtPolicy(), counted_ids())
    answers = issuer.prepare([JwtRequest(WEB, ("a",)), JwtRequest(WEB, ("b",))], unusable, EPOCH)
    assert [type(answer) for answer in answers] == [AuthorityUnavailable, AuthorityUnavailable]


def prepare(count: int = 1, authority: JwtSigningAuthority = AUTHORITY) -> tuple[JwtIssuer, list[PreparedJwt]]:
    issuer = JwtIssuer(JwtPolicy(), counted_ids())
    answers = issuer.prepare([JwtRequest(WEB, (f"a{n}",)) for n in range(count)], authority, EPOCH)
    assert all(isinstance(answer, PreparedJwt) for answer in answers)
    return issuer, [answer for answer in answers if isinstance(answer, PreparedJwt)]


def test_each_is_signed_at_most_once() -> None:
    issuer, (one, two) = prepare(2)
    with pytest.raises(AlreadyIssued):
        issuer.issue([one, one])
    assert not one.spent
    issuer.issue([one])
    assert one.spent
    with pytest.raises(AlreadyIssued):
        issuer.issue([two, one])
    assert not two.spent
    with pytest.raises(AlreadyIssued):
        one.take()


def test_a_prepared_token_cannot_be_copied_or_shown() -> None:
    _, (one,) = prepare()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            attempt(one)
    assert "jti-1" in repr(one)


def test_a_batch_has_one_answer_each_in_order() -> None:
    other = make_jwt_authority()
    issuer = JwtIssuer(JwtPolicy(), counted_ids())
    requests = [JwtRequest(WEB, ("a",)), JwtRequest(WEB, ()), JwtRequest(WEB, ("c",), timedelta(seconds=1))]
    good, bad, short = issuer.prepare(requests, AUTHORITY, EPOCH)
    assert [type(answer) for answer in (bad, short)] == [IssuanceRefused, IssuanceRefused]
    assert isinstance(good, PreparedJwt)
    (elsewhere,) = issuer.prepare([JwtRequest(WEB, ("d",))], other, EPOCH)
    assert isinstance(elsewhere, PreparedJwt)
    answers = issuer.issue([elsewhere, good])
    assert [answer.intent.audience for answer in answers if isinstance(answer, IssuedJwtSvid)] == [("d",), ("a",)]


class OddSigner:
    """A key manager with a fault."""

    def __init__(self, inner: LocalSigner, fault: str) -> None:
        self._inner = inner
        self._fault = fault

    @property
    def public_key(self) -> PublicKey:
        return self._inner.public_key

    def sign(self, messages: Sequence[bytes], *, scheme: Scheme = Scheme.X509) -> list[bytes]:
        if self._fault == "gone":
            raise AuthorityUnavailable("the token does not answer")
        if self._fault == "other bytes":
            return self._inner.sign([message + b"x" for message in messages], scheme=scheme)
        other = Scheme.X509 if scheme is Scheme.PSS_SHA256 else Scheme.PSS_SHA256
        return self._inner.sign(messages, scheme=other)


@pytest.mark.parametrize(("fault", "error"), [("gone", AuthorityUnavailable), ("other bytes", InvalidJwtSvid)])
def test_a_faulty_key_lets_nothing_out(fault: str, error: type[CaError]) -> None:
    odd = replace(AUTHORITY, signer=OddSigner(LocalSigner.of(generate(KeyType.ECDSA_P256)), "none"))
    assert isinstance(AUTHORITY.signer, LocalSigner)
    odd = replace(AUTHORITY, signer=OddSigner(AUTHORITY.signer, fault))
    issuer, batch = prepare(3, odd)
    assert [type(answer) for answer in issuer.issue(batch)] == [error] * 3


@pytest.mark.parametrize("algorithm", [JwtAlgorithm.RS256, JwtAlgorithm.PS256])
def test_a_signature_by_the_other_scheme_lets_nothing_out(
    authorities: Mapping[JwtAlgorithm, JwtSigningAuthority], algorithm: JwtAlgorithm
) -> None:
    authority = authorities[algorithm]
    assert isinstance(authority.signer, LocalSigner)
    odd = replace(authority, signer=OddSigner(authority.signer, "scheme"))
    issuer, batch = prepare(1, odd)
    assert [type(answer) for answer in issuer.issue(batch)] == [InvalidJwtSvid]


def test_opening_proves_that_key_and_authority_belong_together(keys: Mapping[KeyType, PrivateKey]) -> None:
    authority, signer = AUTHORITY.authority, AUTHORITY.signer
    assert JwtSigningAuthority.open(authority, signer, JwtAlgorithm.ES256) == AUTHORITY
    other = LocalSigner.of(generate(KeyType.ECDSA_P256))
    x509 = make_authority()
    for wrong in (
        (authority, other, JwtAlgorithm.ES256),
        (authority, signer, JwtAlgorithm.ES384),
        (authority, signer, JwtAlgorithm.RS256),
        (authority, LocalSigner.of(keys[KeyType.RSA_2048]), JwtAlgorithm.RS256),
        (replace(authority, key_type=KeyType.RSA_2048), signer, JwtAlgorithm.RS256),
        (replace(authority, key_type=KeyType.ED25519), LocalSigner.of(keys[KeyType.ED25519]), JwtAlgorithm.ES256),
        (x509.authority, x509.signer, JwtAlgorithm.ES256),
    ):
        with pytest.raises(AuthorityUnavailable):
            JwtSigningAuthority.open(*wrong)


def test_a_change_of_the_configured_algorithm_waits_for_rotation() -> None:
    assert algorithm_for(KeyType.ECDSA_P256, JwtAlgorithm.RS256) is JwtAlgorithm.ES256
    assert algorithm_for(KeyType.RSA_4096, JwtAlgorithm.PS256) is JwtAlgorithm.PS256
    assert algorithm_for(KeyType.RSA_2048, JwtAlgorithm.ES256) is JwtAlgorithm.RS256
    with pytest.raises(AuthorityUnavailable, match="ed25519"):
        algorithm_for(KeyType.ED25519, JwtAlgorithm.ES256)
    for algorithm, key_type in KEY_TYPES.items():
        assert algorithm_for(key_type, algorithm) is algorithm


def test_tokens_are_masked() -> None:
    issued = issue_jwt(AUTHORITY)
    assert issued.token.reveal() not in f"{issued} {issued!r}"
    assert "eyJ" not in f"{issued} {issued!r}"


def test_another_trust_domains_authority_signs_only_its_own() -> None:
    foreign = make_jwt_authority(TrustDomain("example.com"))
    with pytest.raises(IssuanceRefused):
        issue_jwt(foreign)
    issued = issue_jwt(foreign, "spiffe://example.com/web")
    assert validate(issued.token.reveal(), bundles_of(AUTHORITY, foreign), AUDIENCE, EPOCH)
    with pytest.raises(InvalidJwtSvid):
        validate(issued.token.reveal(), bundles_of(AUTHORITY), AUDIENCE, EPOCH)
    swapped = {TrustDomain("example.com"): jwt_bundle(AUTHORITY)}
    with pytest.raises(InvalidJwtSvid):
        validate(issued.token.reveal(), swapped, AUDIENCE, EPOCH)

"""Tokens, what may be given away, four eyes and logins: what decides, without I/O."""

from __future__ import annotations

import ast
import inspect
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from attestation.spiffe_id import SpiffeId
from ca.jwk import base64url
from ca.jws import compact, signing_input
from ca.masked import Masked
from sds.admin.access.api_token import ApiToken, is_genuine
from sds.admin.access.four_eyes import MASS, needed
from sds.admin.access.granting import covers, may_name, within
from sds.admin.access.people import answerable, same_person
from sds.admin.access.roles import EVERYTHING, Right, Role, Scope
from sds.admin.login.flow import Client, Flow, authorization_url, own_path
from sds.admin.login.id_token import Expected, ProviderKey, TokenRefused, UnknownKey, keys_of, validate
from sds.server.access import credentials

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PAYMENTS = SpiffeId.parse("spiffe://example.org/payments")
API = SpiffeId.parse("spiffe://example.org/payments/api")
WEB = SpiffeId.parse("spiffe://example.org/web")


def token(number: int = 1) -> ApiToken:
    return ApiToken.make(number.to_bytes(8), Masked(number.to_bytes(32)))


class TestApiTokens:
    def test_it_is_read_as_it_was_written_and_shown_nowhere(self) -> None:
        made = token()
        read = ApiToken.parse(made.text.reveal())
        assert read is not None
        assert (read.id, read.hash) == (made.id, made.hash)
        assert made.text.reveal() not in repr(made)
        assert made.hash not in made.text.reveal()

    @pytest.mark.parametrize("text", ["", "sds_at_", "sds_at_" + "0" * 79, "sds_at_" + "0" * 81, "sds_at_" + "G" * 80])
    def test_what_none_looks_like(self, text: str) -> None:
        assert ApiToken.parse(text) is None
        assert ApiToken.parse(text + "\n") is None

    def test_only_the_very_same_is_genuine(self) -> None:
        assert is_genuine(token(), token().hash)
        assert not is_genuine(token(), token(2).hash)
        assert not is_genuine(token(), None)

    def test_unknown_and_wrong_take_the_same_path(self) -> None:
        """Timing: one comparison in constant time, whether or not there is such a token, and before anything is said."""
        (function,) = ast.parse(inspect.getsource(is_genuine)).body
        assert isinstance(function, ast.FunctionDef)
        kinds = [type(each) for each in function.body]
        assert kinds == [ast.Expr, ast.Assign, ast.Assign, ast.Return]
        assert "hmac.compare_digest(unverified.hash, expected)" in ast.unparse(function.body[2])
        looked_up = inspect.getsource(credentials.StoredCredentials._token)
        assert looked_up.index("is_genuine(") < looked_up.index("record is None or not genuine")
        assert "==" not in looked_up


class TestGiving:
    @pytest.mark.parametrize(
        ("held", "wanted", "may"),
        [
            (Right(Role.ADMIN), Right(Role.ADMIN), True),
            (Right(Role.ADMIN), Right(Role.AUDITOR, Scope(API)), True),
            (Right(Role.OPERATOR), Right(Role.VIEWER), True),
            (Right(Role.OPERATOR), Right(Role.AUDITOR), False),
            (Right(Role.AUDITOR), Right(Role.OPERATOR), False),
            (Right(Role.VIEWER), Right(Role.ADMIN), False),
            (Right(Role.ADMIN, Scope(PAYMENTS)), Right(Role.ADMIN, Scope(API)), True),
            (Right(Role.ADMIN, Scope(PAYMENTS)), Right(Role.VIEWER), False),
            (Right(Role.ADMIN, Scope(PAYMENTS)), Right(Role.VIEWER, Scope(WEB)), False),
            (Right(Role.ADMIN, Scope(PAYMENTS)), Right(Role.VIEWER, Scope(None, {"team": "payments"})), False),
            (Right(Role.ADMIN, Scope(None, {"a": "1"})), Right(Role.ADMIN, Scope(None, {"a": "1", "b": "2"})), True),
            (Right(Role.ADMIN, Scope(None, {"a": "1", "b": "2"})), Right(Role.ADMIN, Scope(None, {"a": "1"})), False),
        ],
    )
    def test_never_more_than_one_has(self, held: Right, wanted: Right, may: bool) -> None:
        assert covers([held], wanted) is may

    def test_two_halves_are_no_whole(self) -> None:
        halves = [Right(Role.ADMIN, Scope(PAYMENTS)), Right(Role.VIEWER)]
        assert not covers(halves, Right(Role.ADMIN))
        assert not covers([], Right(Role.VIEWER))

    @given(st.sampled_from([None, PAYMENTS, API, WEB]), st.sampled_from([{}, {"a": "1"}, {"a": "1", "b": "2"}]))
    def test_everything_holds_every_scope_and_each_itself(self, below: SpiffeId | None, labels: dict[str, str]) -> None:
        scope = Scope(below, labels)
        assert within(scope, EVERYTHING)
        assert within(scope, scope)
        assert within(EVERYTHING, scope) is scope.everything

    def test_labels_alone_take_no_names(self) -> None:
        assert may_name([EVERYTHING], WEB)
        assert may_name([Scope(PAYMENTS, {"a": "1"})], API)
        assert not may_name([Scope(PAYMENTS)], WEB)
        assert not may_name([Scope(None, {"a": "1"})], API)
        assert not may_name([], API)

    def test_who_answers_for_a_token_is_who_uses_it(self) -> None:
        ann = ("oidc:https://idp#ann", "group:pki")
        assert same_person(("token:1", "oidc:https://idp#ann"), ann)
        assert not same_person(("token:1", "oidc:https://idp#bob"), ann)
        assert not same_person(("group:pki", "oidc:https://idp#bob"), ann)
        assert answerable(("token:1", "uid:0"), "token:1") == "uid:0"
        assert answerable(ann, ann[0]) == ann[0]


@pytest.mark.parametrize(
    ("operation", "asked", "chosen", "waits"),
    [
        ("revocation.create", {"kind": "agent", "dry_run": False}, {MASS}, True),
        ("revocation.create", {"kind": "agent"}, {MASS}, False),
        ("revocation.create", {"kind": "agent", "dry_run": True}, {MASS}, False),
        ("revocation.create", {"kind": "serial", "dry_run": False}, {MASS}, False),
        ("revocation.create", {"kind": "authority", "dry_run": False}, {"authority.revoke"}, True),
        ("revocation.create", {"kind": "agent", "dry_run": "no"}, {MASS}, True),
        ("authority.revoke", {}, {"authority.revoke"}, True),
        ("authority.revoke", {"dry_run": True}, {"authority.revoke"}, False),
        ("authority.revoke", {}, set(), False),
        ("audit.prune", {"dry_run": False}, {"audit.retention"}, True),
        ("audit.prune", {}, {"audit.retention"}, False),
        ("entry.delete", {"dry_run": False}, {MASS, "authority.revoke", "audit.retention"}, False),
    ],
)
def test_what_needs_a_second_pair_of_eyes(
    operation: str, asked: dict[str, object], chosen: set[str], waits: bool
) -> None:
    assert needed(operation, asked, chosen) is waits


class TestFlow:
    def test_all_is_tied_to_the_cookie_and_nothing_of_it_is_another(self) -> None:
        flow, other = Flow(Masked("a" * 64), "/entries"), Flow(Masked("b" * 64))
        again = Flow.parse(flow.cookie.reveal())
        assert again is not None
        assert (again.state, again.nonce, again.then) == (flow.state, flow.nonce, "/entries")
        secrets = {flow.state, flow.nonce, flow.verifier.reveal(), other.state, other.nonce, other.verifier.reveal()}
        assert len(secrets) == 6
        url = authorization_url("https://idp.example/auth", Client("sds", "https://a/login/callback", ("email",)), flow)
        assert flow.verifier.reveal() not in url
        assert flow.cookie.reveal() not in url
        assert f"code_challenge={flow.challenge}" in url
        assert "scope=openid+email" in url

    @pytest.mark.parametrize("cookie", ["", "a" * 64, "g" * 64 + ".", "a" * 64 + ".!", "a" * 63 + ".Lw"])
    def test_what_no_cookie_looks_like(self, cookie: str) -> None:
        assert Flow.parse(cookie) is None

    @pytest.mark.parametrize(
        "path",
        [
            "https://evil.example", "//evil.example", "/\\evil.example", "\\/evil", "/a\\b", "/a\nb", "/\tb", "", "x",
            "/login?next=/login", "/logout", "/v1/kek:rotate", "/" + "a" * 600, "/\u00e4", "javascript:alert(1)",
        ],
    )  # fmt: skip
    def test_a_login_never_leads_away(self, path: str) -> None:
        """Open redirect."""
        assert own_path(path) == "/"
        assert own_path("/entries?label=a%3Db") == "/entries?label=a%3Db"


KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
KEYS = [ProviderKey("k1", KEY.public_key())]
EXPECTED = Expected("https://idp.example", "sds", "the-nonce", timedelta(minutes=10))
CLAIMS: dict[str, Any] = {
    "iss": "https://idp.example", "aud": "sds", "sub": "ann", "nonce": "the-nonce", "email": "ann@example.org",
    "iat": NOW.timestamp(), "exp": (NOW + timedelta(minutes=5)).timestamp(), "groups": ["pki", "pki", 7, "x\n"],
}  # fmt: skip


def signed(header: dict[str, Any] | None = None, key: ec.EllipticCurvePrivateKey = KEY, **claims: Any) -> str:
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature  # noqa: PLC0415

    merged = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    text = signing_input({"alg": "ES256", "kid": "k1", **(header or {})}, merged)
    r, s = decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
    return compact(text, r.to_bytes(32) + s.to_bytes(32))


class TestIdTokens:
    def test_one_that_may_be_believed(self) -> None:
        identity = validate(signed(), KEYS, EXPECTED, NOW)
        assert identity.subject == "oidc:https://idp.example#ann"
        assert identity.subjects == (identity.subject, "group:pki")
        assert identity.name == "ann@example.org"
        assert validate(signed(aud=["sds", "x"], azp="sds"), KEYS, EXPECTED, NOW) == identity

    @pytest.mark.parametrize(
        "claims",
        [
            {"iss": "https://idp.example/"}, {"iss": None}, {"aud": "other"}, {"aud": []}, {"aud": ["sds", "x"]},
            {"azp": "other"}, {"nonce": "another"}, {"nonce": None}, {"sub": None}, {"sub": ""}, {"sub": "a\nb"},
            {"exp": None}, {"exp": NOW.timestamp() - 61}, {"exp": "soon"}, {"exp": 1e300}, {"iat": None},
            {"iat": NOW.timestamp() + 120}, {"iat": NOW.timestamp() - 700}, {"nbf": NOW.timestamp() + 120},
            {"exp": True}, {"groups": {"a": 1}}, {"groups": ["x"] * 300},
        ],
    )  # fmt: skip
    def test_a_claim_that_is_not_as_it_should_be(self, claims: dict[str, Any]) -> None:
        with pytest.raises(TokenRefused):
            validate(signed(**claims), KEYS, EXPECTED, NOW)

    @pytest.mark.parametrize(
        "header", [{"alg": "none"}, {"alg": "HS256"}, {"alg": 7}, {"crit": ["b64"]}, {"typ": "JOSE"}]
    )
    def test_a_header_that_is_not_taken(self, header: dict[str, Any]) -> None:
        with pytest.raises(TokenRefused):
            validate(signed(header), KEYS, EXPECTED, NOW)

    def test_only_the_providers_keys_count(self) -> None:
        with pytest.raises(TokenRefused, match="signature"):
            validate(signed(key=OTHER), KEYS, EXPECTED, NOW)
        with pytest.raises(UnknownKey):
            validate(signed({"kid": "k2"}), KEYS, EXPECTED, NOW)
        public = OTHER.public_key().public_numbers()
        jwk = {
            "kty": "EC",
            "crv": "P-256",
            "x": base64url(public.x.to_bytes(32)),
            "y": base64url(public.y.to_bytes(32)),
        }
        with pytest.raises(TokenRefused, match="signature"):
            validate(signed({"jwk": jwk}, key=OTHER), KEYS, EXPECTED, NOW)
        assert [each.id for each in keys_of({"keys": [{**jwk, "kid": "a"}, {"kty": "oct", "k": "AA"}, 7]})] == ["a"]
        for broken in ({}, {"keys": {}}, {"keys": [{}] * 65}):
            with pytest.raises(TokenRefused):
                keys_of(broken)

    @given(st.text(max_size=200))
    def test_rubbish(self, text: str) -> None:
        with pytest.raises(TokenRefused):
            validate(text, KEYS, EXPECTED, NOW)

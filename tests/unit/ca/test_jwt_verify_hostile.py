"""Tokens that no honest party makes: huge, deep, ambiguous, changed, and at random."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.errors import InvalidJwtSvid
from ca.jws import MAX_DEPTH, MAX_TOKEN_BYTES
from tests.fakes.jwt import b64, forge
from tests.unit.ca.jwt_verify_kit import AUTHORITY, GOOD, START, check, refused

# The bytes (JWT-SVID 5.1, RFC 7515)


def test_huge_tokens_are_refused_unread() -> None:
    refused("x" * (MAX_TOKEN_BYTES + 1), "bytes")
    refused("." * 100_000_000, "bytes")
    refused(GOOD + "A" * MAX_TOKEN_BYTES, "bytes")


def test_deep_and_numerous_json_is_refused() -> None:
    deep = b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"
    refused(forge(AUTHORITY, deep))
    refused(forge(AUTHORITY, header=deep))
    refused(forge(AUTHORITY, b'{"sub":' + b"9" * 10_000 + b"}"), "JSON")
    nested: object = 1
    for _ in range(MAX_DEPTH - 1):
        nested = [nested]
    assert check(forge(AUTHORITY, x=nested)).claims["x"] == nested
    refused(forge(AUTHORITY, x=[nested]), "JSON")


BAD_SHAPES: Mapping[str, str] = {
    "empty": "",
    "dots": "..",
    "one part": "abc",
    "two parts": "abc.def",
    "four parts": GOOD + ".AAAA",
    "five parts, as JWE": "a.b.c.d.e",
    "JSON serialisation": json.dumps(
        {"payload": GOOD.split(".")[1], "protected": GOOD.split(".")[0], "signature": GOOD.split(".")[2]}
    ),
    "blank before": " " + GOOD,
    "line break after": GOOD + "\n",
    "padding": GOOD.replace(".", "=.", 1),
    "padded signature": GOOD + "==",
    "other alphabet": "+/" + GOOD,
    "not ASCII": "\u00e9" + GOOD,
    "a NUL": GOOD + "\0",
    "a lone surrogate": "\ud800" + GOOD,
    "Bearer": "Bearer " + GOOD,
    "detached payload": ".".join([GOOD.split(".")[0], "", GOOD.split(".")[2]]),
}


@pytest.mark.parametrize("token", BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_only_the_compact_serialisation_is_read(token: str) -> None:
    """JWT-SVID 5.1."""
    refused(token)


def _claims(text: str) -> bytes:
    return text.replace("NOW", str(START + 300)).encode()


BAD_JSON: Mapping[str, bytes] = {
    "not JSON": b"{",
    "empty": b"",
    "not UTF-8": b'{"sub":"\xff"}',
    "UTF-16": '{"sub":"x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"sub":"x"}',
    "a list": b"[]",
    "a text": b'"x"',
    "null": b"null",
    "NaN": _claims('{"sub":"spiffe://example.org/web","aud":"reports","exp":NaN}'),
    "Infinity": _claims('{"sub":"spiffe://example.org/web","aud":"reports","exp":Infinity}'),
    "infinite by its exponent": _claims('{"sub":"spiffe://example.org/web","aud":"reports","exp":1e999}'),
    "two subjects": _claims(
        '{"sub":"spiffe://example.org/a","sub":"spiffe://example.org/b","aud":"reports","exp":NOW}'
    ),
    "two expiries": _claims('{"sub":"spiffe://example.org/a","aud":"reports","exp":1,"exp":NOW}'),
    "twice by an escape": _claims('{"sub":"spiffe://example.org/a","aud":"x","exp":NOW,"\\u0061ud":"reports"}'),
    "twice further down": _claims('{"sub":"spiffe://example.org/a","aud":"reports","exp":NOW,"x":[{"y":1,"y":2}]}'),
    "a lone surrogate": _claims('{"sub":"spiffe://example.org/a","aud":"reports","exp":NOW,"x":"\\ud800"}'),
    "something after it": _claims('{"sub":"spiffe://example.org/a","aud":"reports","exp":NOW}{}'),
    "a comment": _claims('{"sub":"spiffe://example.org/a","aud":"reports","exp":NOW}//'),
}


@pytest.mark.parametrize("payload", BAD_JSON.values(), ids=BAD_JSON)
def test_a_payload_with_more_than_one_meaning_is_refused(payload: bytes) -> None:
    """RFC 7519 4: one name, one value; though the signature is sound."""
    refused(forge(AUTHORITY, payload), "payload")


def test_a_header_with_more_than_one_meaning_is_refused() -> None:
    kid = AUTHORITY.authority.id
    refused(forge(AUTHORITY, header=f'{{"alg":"none","alg":"ES256","kid":"{kid}"}}'.encode()), "header")
    refused(forge(AUTHORITY, header=f'{{"alg":"ES256","alg":"none","kid":"{kid}"}}'.encode()), "header")
    for text in (b"[]", b"null", b"", b"\xff"):
        refused(forge(AUTHORITY, header=text), "header")


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(GOOD) - 1), st.characters())
def test_no_changed_character_goes_unnoticed(place: int, character: str) -> None:
    changed = GOOD[:place] + character + GOOD[place + 1 :]
    if changed != GOOD:
        refused(changed)


@settings(deadline=None)
@given(
    st.text(max_size=300)
    | st.binary(max_size=300).map(b64)
    | st.lists(st.binary(max_size=60).map(b64), min_size=3, max_size=3).map(".".join)
)
def test_any_text_is_refused_cleanly(text: str) -> None:
    refused(text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["sub", "aud", "exp", "nbf", "iat", "jti", "x"]), _JSON))
def test_any_claims_under_a_sound_signature_are_believed_or_refused(claims: dict[str, object]) -> None:
    """Nothing but our own error ever comes out, whatever a federated domain's issuer signs."""
    try:
        check(forge(AUTHORITY, claims))
    except InvalidJwtSvid:
        return


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk"]), _JSON))
def test_any_header_is_believed_or_refused(header: dict[str, object]) -> None:
    try:
        check(forge(AUTHORITY, header=header))
    except InvalidJwtSvid:
        return
    assert set(header) <= {"alg", "kid", "typ"}

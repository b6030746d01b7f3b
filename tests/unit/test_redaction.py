from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydantic
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.node.join_token import encode_token
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId
from ca.masked import Masked
from sds.redaction import MAX_TEXT, MAX_TRACEBACK, clean, clean_pair, clean_text, describe_exception, secret_key

CANARY = "canary-5f2c"

KEYS = {
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "rsa": rsa.generate_private_key(65537, 2048),
}
FORMATS = [
    (name, form)
    for name in KEYS
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL)
    if (name, form) != ("ed25519", PrivateFormat.TraditionalOpenSSL)
]


@pytest.mark.parametrize(("name", "form"), FORMATS)
@pytest.mark.parametrize(
    "dress",
    [
        str,
        repr,
        json.dumps,
        lambda pem: "error: " + pem + " tail",
        lambda pem: pem[: len(pem) * 2 // 3],
        lambda pem: pem.replace("\n", "\r\n"),
        lambda pem: pem.replace("\n", ""),
        lambda pem: "x" * (MAX_TEXT - 40) + " " + pem,
    ],
)
def test_private_keys_in_pem_never_come_out(name: str, form: PrivateFormat, dress: Callable[[str], str]) -> None:
    pem = KEYS[name].private_bytes(Encoding.PEM, form, NoEncryption()).decode()
    body = pem.splitlines()[1]
    out = clean_text(dress(pem))
    assert body[4:40] not in out
    assert "BEGIN" not in out or "PRIVATE" not in out


@pytest.mark.parametrize(("name", "form"), FORMATS)
def test_private_keys_in_base64_never_come_out(name: str, form: PrivateFormat) -> None:
    text = base64.b64encode(KEYS[name].private_bytes(Encoding.DER, form, NoEncryption())).decode()
    for dressed in (text, f'{{"key": "{text}"}}', "\n".join(text[i : i + 64] for i in range(0, len(text), 64))):
        assert text[12:40] not in clean_text(dressed)


def test_public_keys_do_come_out() -> None:
    pem = KEYS["rsa"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert clean_text(pem) == pem


@pytest.mark.parametrize(
    "text",
    [
        encode_token(CANARY.encode().ljust(32, b"x")),
        f"postgresql://sds:{CANARY}@db/sds",
        f"postgresql://sds:{CANARY}@{CANARY}/x@db/sds",
        f"Authorization: Bearer {CANARY}",
        f"password={CANARY}",
        f"'password': '{CANARY}'",
        f'{{"secret":"{CANARY}"}}',
        f"token = {CANARY}",
        f"hvs.{CANARY}",
        "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYW5hcnktNWYyYyJ9.c2lnbmF0dXJl",
        repr(CANARY.encode()),
        f'b"it\'s {CANARY}"',
        f"(sqlite3.OperationalError) locked [SQL: INSERT ...] [parameters: ('{CANARY}', 3)]",
    ],
)
def test_texts(text: str) -> None:
    out = clean_text(f"before {text} after")
    assert out.startswith("before ")
    assert CANARY not in out
    assert base64.b64encode(CANARY.encode()).decode().rstrip("=")[:12] not in out
    assert "eyJzdWIi" not in out
    assert text not in out


@pytest.mark.parametrize(
    "text",
    ["spiffe://example.org/a", "tcp 127.0.0.1:8443", "unexpected end of file", "a MII b", "agent@host", "sub b c"],
)
def test_harmless_texts_stay(text: str) -> None:
    assert clean_text(text) == text


def test_length_is_bounded() -> None:
    assert len(clean_text("x" * 10_000_000)) < MAX_TEXT + 100


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "db_password",
        "PASSWD",
        "secret",
        "client-secret",
        "join_token",
        "token",
        "private_key",
        "privateKey",
        "api_key",
        "authorization",
        "Cookie",
        "kek",
        "ticket_keys",
        "passphrase",
        "vault_credential",
    ],
)
def test_secret_keys(name: str) -> None:
    assert secret_key(name)
    assert clean_pair(name, CANARY) == "[removed]"
    assert clean_pair(name, [CANARY]) == "[removed]"
    assert clean_pair(name, 3) == 3


@pytest.mark.parametrize(
    "name", ["token_hash", "password_file", "key_hash", "secret_name", "token_ttl", "uid", "kek_id"]
)
def test_what_is_about_a_secret_is_shown(name: str) -> None:
    assert not secret_key(name)


@dataclass
class Holder:
    value: str = CANARY


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(hide_input_in_errors=False)
    password: str
    number: int


@pytest.mark.parametrize(
    "value",
    [
        CANARY.encode(),
        bytearray(CANARY.encode()),
        memoryview(CANARY.encode()),
        Masked(CANARY),
        StringValue(value=CANARY),
        Holder(),
        Model(password=CANARY, number=1),
        [CANARY.encode(), {"x": (StringValue(value=CANARY),)}],
        {"password": CANARY, "deep": {"private_key": CANARY}},
        {1: {2: {3: {4: {5: CANARY}}}}},
        lambda: CANARY,
    ],
)
def test_values_that_may_hide_a_secret_show_their_type_only(value: object) -> None:
    out = clean(value)
    assert CANARY not in json.dumps(out)


def test_values_that_are_meant_to_be_seen() -> None:
    assert clean(SpiffeId.parse("spiffe://example.org/a")) == "spiffe://example.org/a"
    assert clean({Selector("unix", "uid:0"), Selector("unix", "gid:0")}) == ["unix:gid:0", "unix:uid:0"]
    assert clean(timedelta(minutes=90)) == "1h30m"
    assert clean(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00+00:00"
    assert clean(Path("/a")) == "/a"
    assert clean(2**200) == hex(2**200)
    assert clean([1, 2.5, None, True]) == [1, 2.5, None, True]
    assert clean(float("nan")) == "nan"


def test_collections_are_bounded() -> None:
    assert len(json.dumps(clean({str(i): list(range(1000)) for i in range(1000)}))) < 40_000


def test_exceptions_of_pydantic_lose_their_input() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Model.model_validate({"password": CANARY, "number": CANARY})
    assert CANARY in str(caught.value)
    assert CANARY not in describe_exception(caught.value)
    assert "1 validation errors at number" in describe_exception(caught.value)


def test_the_whole_chain_is_told_and_cleaned() -> None:
    def fail() -> None:
        try:
            try:
                raise ValueError(f"password={CANARY}")  # noqa: TRY301  a chain is what is tested
            except ValueError as error:
                raise KeyError(CANARY.encode()) from error
        except KeyError:
            raise RuntimeError("outermost")  # noqa: B904  the context is what is tested

    with pytest.raises(RuntimeError) as caught:
        fail()
    text = describe_exception(caught.value)
    assert text.index("ValueError") < text.index("KeyError") < text.index("RuntimeError: outermost")
    assert CANARY not in text


def test_groups_and_long_and_cyclic_chains_end() -> None:
    group = ExceptionGroup("many", [ValueError(str(i)) for i in range(1000)])
    assert "ValueError: 0" in describe_exception(group)
    error: Exception = ValueError("x" * 100_000)
    for _ in range(50):
        outer = ValueError("x" * 100_000)
        outer.__cause__ = error
        error = outer
    assert len(describe_exception(error)) < MAX_TRACEBACK + 100
    a, b = ValueError("a"), ValueError("b")
    a.__cause__, b.__cause__ = b, a
    assert "ValueError: b" in describe_exception(a)


@settings(max_examples=100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
        max_leaves=20,
    )
)
def test_whatever_comes_out_is_json(value: object) -> None:
    json.dumps(clean(value), allow_nan=False)

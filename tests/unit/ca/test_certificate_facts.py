"""Finding out which certificate somebody has pasted."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from ca.certificate_facts import InvalidPaste, facts_of, read_pem
from ca.der_reader import InvalidDer
from ca.keys import key_hash

KEY = ec.generate_private_key(ec.SECP256R1())


def make(serial: int = 0xABCDEF, *, extensions: bool = True, key: object = KEY) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), serial, start, start + timedelta(days=1))
    if extensions:
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(b"\x01" * 20, None, None), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def pem(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()


def test_serial_key_and_issuer() -> None:
    facts = facts_of(make())
    assert (facts.serial, facts.key_hash, facts.issuer_key_id) == ("abcdef", key_hash(KEY.public_key()), "01" * 20)
    assert facts_of(make(extensions=False)).issuer_key_id == ""


def test_a_chain_with_what_tools_print_around_it() -> None:
    text = f"depth=1\n---\n 0 s:CN=x\r\n{pem(make(1))}\nsubject=\n{pem(make(2))}".replace("\n", "\r\n")
    assert [each.serial for each in read_pem(text, 2)] == ["01", "02"]
    with pytest.raises(InvalidPaste, match="more than 1"):
        read_pem(text, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "canary",
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\n" + pem(make())[40:],
        pem(make()).replace("M", "N", 1),
        "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----",
    ],
)
def test_what_is_no_certificate_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidPaste) as refused:
        read_pem(text, 10)
    assert "canary" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_private_key_is_refused() -> None:
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(InvalidPaste, match="disclosed"):
        read_pem(pem(make()) + key, 10)


def test_many_beginnings_are_looked_at_once() -> None:
    with pytest.raises(InvalidPaste):
        read_pem("-----BEGIN CERTIFICATE-----\n" * 40_000, 10)  # anything quadratic would run into the time limit


VALID = make()


@given(st.binary(max_size=200))
@example(b"")
@example(bytes.fromhex("3080"))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(InvalidDer):
        facts_of(data)


@given(st.integers(0, len(VALID) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(at: int, octet: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            facts = facts_of(VALID[:at] + bytes([octet]) + VALID[at + 1 :])
        except InvalidDer:
            return
    assert len(facts.key_hash) == 64

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519

from ca.errors import CsrRefused
from ca.keys import (
    KeyType,
    PrivateKey,
    check_public_key,
    from_pkcs8_der,
    from_pkcs8_pem,
    key_hash,
    signature_hash,
    spki_der,
    to_pkcs8_der,
    to_pkcs8_pem,
)
from ca.masked import Masked
from tests.fakes.ca import CLASSICAL


@pytest.mark.parametrize("key_type", CLASSICAL)
def test_each_kind_is_what_its_name_says(keys: Mapping[KeyType, PrivateKey], key_type: KeyType) -> None:
    key = keys[key_type]
    text = subprocess.run(
        ["openssl", "pkey", "-noout", "-text"], input=to_pkcs8_pem(key).reveal(), capture_output=True, check=True
    ).stdout.decode()
    expected = {
        KeyType.ECDSA_P256: "NIST CURVE: P-256",
        KeyType.ECDSA_P384: "NIST CURVE: P-384",
        KeyType.ED25519: "ED25519",
        KeyType.RSA_2048: "2048 bit",
        KeyType.RSA_3072: "3072 bit",
        KeyType.RSA_4096: "4096 bit",
    }
    assert expected[key_type] in text
    if isinstance(key, rsa.RSAPrivateKey):
        assert key.public_key().public_numbers().e == 65537
    assert check_public_key(key.public_key()) == key.public_key()


@pytest.mark.parametrize("key_type", CLASSICAL)
def test_private_keys_survive_their_encodings(keys: Mapping[KeyType, PrivateKey], key_type: KeyType) -> None:
    key = keys[key_type]
    assert from_pkcs8_der(to_pkcs8_der(key)).public_key() == key.public_key()
    assert from_pkcs8_pem(to_pkcs8_pem(key)).public_key() == key.public_key()
    assert to_pkcs8_pem(key).reveal().startswith(b"-----BEGIN PRIVATE KEY-----\n")


def test_the_hash_is_of_the_whole_public_key_info(key: PrivateKey) -> None:
    info = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert spki_der(key.public_key()) == info
    assert key_hash(key.public_key()) == hashlib.sha256(info).hexdigest()


def test_digests_go_with_the_strength_of_the_key(keys: Mapping[KeyType, PrivateKey]) -> None:
    names = {key_type: getattr(signature_hash(key), "name", None) for key_type, key in keys.items()}
    assert names == {
        KeyType.ECDSA_P256: "sha256",
        KeyType.ECDSA_P384: "sha384",
        KeyType.ED25519: None,
        KeyType.RSA_2048: "sha256",
        KeyType.RSA_3072: "sha256",
        KeyType.RSA_4096: "sha256",
        KeyType.ML_DSA_44: None,
        KeyType.ML_DSA_65: None,
        KeyType.ML_DSA_87: None,
    }


@pytest.mark.parametrize(
    "other",
    [
        x25519.X25519PrivateKey.generate().public_key(),
        ed448.Ed448PrivateKey.generate().public_key(),
        dsa.generate_private_key(2048).public_key(),
        ec.generate_private_key(ec.SECP521R1()).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        ec.generate_private_key(ec.BrainpoolP256R1()).public_key(),
        None,
        "key",
    ],
    ids=lambda other: type(other).__name__,
)
def test_other_kinds_are_refused(other: object) -> None:
    with pytest.raises(CsrRefused):
        check_public_key(other)


@pytest.mark.parametrize("bad", [b"", b"canary", b"\x30\x03\x02\x01\x00", b"-----BEGIN PRIVATE KEY-----\ncanary\n"])
def test_bytes_that_are_no_key_are_a_value_error_that_shows_nothing(bad: bytes) -> None:
    for read in (from_pkcs8_der, from_pkcs8_pem):
        with pytest.raises(ValueError, match=r".*") as caught:
            read(Masked(bad))
        assert "canary" not in repr(caught.value)


def test_a_key_of_another_kind_is_a_value_error() -> None:
    other = x25519.X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ValueError, match="not supported"):
        from_pkcs8_der(Masked(other))

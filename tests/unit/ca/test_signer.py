from __future__ import annotations

from collections.abc import Mapping

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from ca.errors import AuthorityUnavailable
from ca.keys import KeyType, PrivateKey, PublicKey, signature_hash
from ca.signer import PSS, LocalSigner, Scheme
from tests.fakes.ca import CLASSICAL, RemoteKey


def verify(key: PublicKey, signature: bytes, message: bytes) -> None:
    digest = signature_hash(key)
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, message)
        return
    assert digest is not None
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, message, ec.ECDSA(digest))
    else:
        key.verify(signature, message, padding.PKCS1v15(), digest)


@pytest.mark.parametrize("key_type", CLASSICAL)
def test_a_batch_is_signed_in_order(keys: Mapping[KeyType, PrivateKey], key_type: KeyType) -> None:
    signer = LocalSigner.of(keys[key_type])
    messages = [b"one", b"two", b""]
    signatures = signer.sign(messages)
    assert len(signatures) == 3
    for message, signature in zip(messages, signatures, strict=True):
        verify(signer.public_key, signature, message)
    assert signer.sign([]) == []


def test_a_stand_in_for_a_remote_key_signs(key: PrivateKey) -> None:
    remote = RemoteKey(key)
    signer = LocalSigner.of(remote)
    (signature,) = signer.sign([b"message"])
    verify(key.public_key(), signature, b"message")
    assert remote.signatures == 1


@pytest.mark.parametrize("key_type", CLASSICAL)
def test_pss_is_for_rsa_keys_alone(keys: Mapping[KeyType, PrivateKey], key_type: KeyType) -> None:
    signer = LocalSigner.of(keys[key_type])
    if not isinstance(signer.public_key, rsa.RSAPublicKey):
        with pytest.raises(AuthorityUnavailable, match="only an RSA key"):
            signer.sign([b"message"], scheme=Scheme.PSS_SHA256)
        return
    messages = [b"one", b"two"]
    for message, signature in zip(messages, signer.sign(messages, scheme=Scheme.PSS_SHA256), strict=True):
        signer.public_key.verify(signature, message, PSS, hashes.SHA256())
        with pytest.raises(InvalidSignature):
            signer.public_key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())

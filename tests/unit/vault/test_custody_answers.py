"""Whatever Vault answers to the CA: it is what was asked for, or it is refused with a reason that shows nothing of it."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import AuthorityUnavailable
from ca.key_managers.transit import TransitConfig, TransitKeyManager
from ca.key_managers.transit_keys import TransitScheme
from ca.keys import KeyType, generate
from ca.masked import Masked
from ca.upstreams.vault_pki import Engine, judge
from sds.vault.answers import VaultAnswer
from sds.vault.errors import VaultError
from sds.vault.pki_upstream import VaultPki
from sds.vault.transit import TransitCipher, TransitKeys
from tests.fakes.ca import TRUST_DOMAIN
from tests.fakes.clock import EPOCH
from tests.fakes.pki import make

PUBLIC = generate(KeyType.ECDSA_P256).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
GOOD_KEY: Mapping[str, Any] = {
    "type": "ecdsa-p256",
    "exportable": False,
    "allow_plaintext_backup": False,
    "imported_key": False,
    "derived": False,
    "keys": {"1": {"public_key": PUBLIC.decode()}},
}


class Saying:
    """Gives one answer to everything."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data

    def request_blocking(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> VaultAnswer:
        del method, path, body
        return VaultAnswer(self.data)

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> VaultAnswer:
        return self.request_blocking(method, path, body)


def keys(data: Mapping[str, Any]) -> TransitKeys:
    return TransitKeys(Saying(data), "transit")


@given(st.sampled_from(sorted(GOOD_KEY)), JSON)
def test_a_key_that_is_shown_otherwise_is_refused(field: str, value: object) -> None:
    """Also where it is shown to be almost as it should: none is used but for what is plainly said."""
    manager = TransitKeyManager(TransitConfig(keys({**GOOD_KEY, field: value})), TRUST_DOMAIN, os.urandom)
    with pytest.raises(AuthorityUnavailable):  # in the end because nothing here signs
        asyncio.run(manager.signer("vault_transit:k"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"exportable": "false"}, "can be taken out"),
        ({"allow_plaintext_backup": None}, "can be taken out"),
        ({"imported_key": True}, "was imported"),
        ({"derived": True}, "is derived"),
        ({"soft_deleted": True}, "deleted"),
        ({"type": "rsa-2048"}, "is not of the kind"),
        ({"type": "ed25519"}, "none that can be used"),
        ({"keys": {"2": {"public_key": PUBLIC.decode()}}}, "version 1"),
        ({"keys": {"1": 1_700_000_000}}, "version 1"),
        ({"keys": []}, "not understood"),
        ({}, "not understood"),  # to the signature, then
    ],
)
def test_what_is_wrong_with_a_key_is_said(change: dict[str, object], why: str) -> None:
    manager = TransitKeyManager(TransitConfig(keys({**GOOD_KEY, **change})), TRUST_DOMAIN, os.urandom)
    with pytest.raises(AuthorityUnavailable, match=why):
        asyncio.run(manager.signer("vault_transit:k"))


@given(JSON)
def test_signatures_that_are_none(results: object) -> None:
    with pytest.raises(AuthorityUnavailable):
        found = keys({"batch_results": results}).sign("k", 1, [b"d"], TransitScheme.ECDSA_SHA256)
        if not found:  # none for one: refused by who asked
            raise AuthorityUnavailable


@pytest.mark.parametrize("signature", ["", "AAAA", "vault:v2:AAAA", "vault:v1:%%%", "vault:v1", ":v1:AAAA"])
def test_signatures_of_other_versions_and_what_is_no_base64(signature: str) -> None:
    with pytest.raises(AuthorityUnavailable):
        keys({"batch_results": [{"signature": signature}]}).sign("k", 1, [b"d"], TransitScheme.ED25519)


@given(JSON)
def test_ciphertext_that_is_none(value: object) -> None:
    cipher = TransitCipher(Saying({"ciphertext": value, "plaintext": value}), "transit", "kek")
    with pytest.raises(VaultError):
        asyncio.run(cipher.encrypt(Masked(b"x"), b""))
    try:
        opened = asyncio.run(cipher.decrypt("vault:v1:x", b""))
    except VaultError:
        return
    assert base64.b64encode(opened.reveal()).decode() == value


@given(JSON, JSON, JSON)
def test_engines_that_are_none(certificate: object, chain: object, names: object) -> None:
    pki = VaultPki(
        Saying({"certificate": certificate, "ca_chain": chain, "keys": names, "capabilities": ["update"]}), "pki"
    )
    with pytest.raises(AuthorityUnavailable):
        asyncio.run(pki.engine(with_roots=True))


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        (Engine(b"x", (), (make("root").der,)), "cannot be read"),
        (Engine(make("root").der, (), ()), "no root certificate"),
        (Engine(make("one").der, (), (make("other").der,)), "does not lead to a root"),
        (Engine(make("leaf", ca=False).der, (), (make("other").der,)), "does not lead to a root"),
        (Engine(b"", (b"",) * 1000, ()), "too many"),
    ],
)
def test_engines_that_cannot_be_above_us(engine: Engine, why: str) -> None:
    with pytest.raises(AuthorityUnavailable, match=why):
        judge(engine, TRUST_DOMAIN, EPOCH)

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ca.keys import KeyType, generate
from sds.secrets.certificates import MAX_CHAIN
from sds.secrets.judge import judge
from sds.secrets.secret import SecretKind, SecretValue
from tests.fakes.clock import EPOCH
from tests.fakes.pki import YEAR, Holder, make
from tests.unit.secrets.test_judge import LIMITS, named, opened, refused

DAY = timedelta(days=1)
ROOT = make("root")
MIDDLE = make("middle", ROOT, after=EPOCH + 30 * DAY)
LEAF = make("gw.example.org", MIDDLE, ca=False, after=EPOCH + DAY)
CHAIN = LEAF.pem + MIDDLE.pem + ROOT.pem


def pair(chain: bytes, key: bytes) -> SecretValue:
    return judge(SecretKind.CERTIFICATE, named({"chain": chain, "private_key": key}), EPOCH, LIMITS)


def why(chain: bytes, key: bytes = LEAF.key_pem) -> str:
    return refused(SecretKind.CERTIFICATE, named({"chain": chain, "private_key": key}))


def why_not_trusted(ca: bytes) -> str:
    return refused(SecretKind.CA_BUNDLE, named({"ca": ca}))


@pytest.mark.parametrize("chain", [LEAF.pem, LEAF.pem + MIDDLE.pem, CHAIN], ids=["leaf", "middle", "root"])
def test_a_chain_with_its_key(chain: bytes) -> None:
    value = pair(chain, LEAF.key_pem)
    assert opened(value) == {"chain": chain, "private_key": LEAF.key_pem}
    assert value.not_after == EPOCH + DAY


def test_the_first_of_the_chain_to_end_ends_it() -> None:
    short = make("short", ROOT, after=EPOCH + timedelta(hours=1))
    leaf = make("gw", short, ca=False)
    assert pair(leaf.pem + short.pem, leaf.key_pem).not_after == EPOCH + timedelta(hours=1)


def test_a_self_signed_certificate_will_do() -> None:
    alone = make("gw", ca=False)
    assert opened(pair(alone.pem, alone.key_pem)) == {"chain": alone.pem, "private_key": alone.key_pem}


def test_text_between_blocks_is_left_out() -> None:
    dressed = b"subject=CN = gw\r\n" + LEAF.pem.replace(b"\n", b"\r\n") + b"\n# issuer\n" + MIDDLE.pem + b"\n\n"
    assert opened(pair(dressed, b"Bag Attributes\n" + LEAF.key_pem))["chain"] == LEAF.pem + MIDDLE.pem


KEYS = {
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "rsa": rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["pkcs8", "traditional"])
def test_keys_in_every_form_become_pkcs8(name: str, form: PrivateFormat) -> None:
    key = KEYS[name]
    if name == "ed25519":
        form = PrivateFormat.PKCS8  # it has no other
    leaf = make("gw", ROOT, ca=False, key=key)  # type: ignore[arg-type]
    text = key.private_bytes(Encoding.PEM, form, NoEncryption())
    found = opened(pair(leaf.pem, text))["private_key"]
    assert found == key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_openssl_writes_parameters_before_an_ec_key() -> None:
    leaf = make("gw", ROOT, ca=False, key=KEYS["p256"])  # type: ignore[arg-type]
    sec1 = KEYS["p256"].private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert load_pem_private_key(opened(pair(leaf.pem, parameters + sec1))["private_key"], None)


OTHER = generate(KeyType.ECDSA_P256)
FOREIGN = OTHER.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
LOCKED = OTHER.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
LOCKED_OLD = OTHER.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"x"))
PUBLIC = OTHER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (FOREIGN, "private_key is not the key of the leaf"),
        (MIDDLE.key_pem, "private_key is not the key of the leaf"),
        (LOCKED, "private_key is encrypted"),
        (LOCKED_OLD, "private_key is encrypted"),
        (LEAF.pem, "PEM block of another kind"),
        (PUBLIC, "PEM block of another kind"),
        (LEAF.key_pem + FOREIGN, "more than 1 PEM block"),
        (LEAF.key_pem[:-10], "cut off"),
        (LEAF.key_pem.replace(b"\n", b" ", 1)[:60], "cut off"),
        (b"no key", "holds no PEM block"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "private_key cannot be read"),
        (b"-----BEGIN PRIVATE KEY-----\nAAA\n-----END PRIVATE KEY-----", "no base64"),
        (b"-----BEGIN PRIVATE KEY-----\n" + b"AAAA" * 4000 + b"\n-----END PRIVATE KEY-----", "larger than any key"),
        (b"", "private_key is empty"),
    ],
)
def test_what_is_no_key_of_the_leaf(key: bytes, reason: str) -> None:
    assert reason in why(CHAIN, key)


def test_an_x25519_key_signs_nothing() -> None:
    key = x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert "not the key of the leaf" in why(CHAIN, key)


FUTURE = make("gw", MIDDLE, ca=False, before=EPOCH + DAY, key=LEAF.key)
PAST = make("gw", MIDDLE, ca=False, after=EPOCH, key=LEAF.key)
OLD_MIDDLE = make("middle", ROOT, before=EPOCH - YEAR, after=EPOCH - DAY, key=MIDDLE.key)
NO_AUTHORITY = make("middle", ROOT, ca=False, key=MIDDLE.key)
NAMESAKE = make("middle", ROOT)


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        (FUTURE.pem, "certificate 1 of chain is not valid before"),
        (PAST.pem, "certificate 1 of chain has expired"),
        (LEAF.pem + OLD_MIDDLE.pem, "certificate 2 of chain has expired"),
        (MIDDLE.pem + LEAF.pem, "certificate 2 of chain is not an authority's"),
        (LEAF.pem + ROOT.pem, "certificate 1 of chain is not signed by certificate 2"),
        (LEAF.pem + NAMESAKE.pem, "certificate 1 of chain is not signed by certificate 2"),
        (LEAF.pem + NO_AUTHORITY.pem, "certificate 2 of chain is not an authority's"),
        (LEAF.pem + ROOT.pem + MIDDLE.pem, "is not signed by"),
        (LEAF.pem + LEAF.key_pem, "chain holds a private key"),
        (LEAF.pem[:-40], "cut off"),
        (LEAF.pem + b"-----BEGIN CERTIFICATE-----\nMIIB", "cut off"),
        (b"\n".join(LEAF.pem.splitlines()[:-3] + LEAF.pem.splitlines()[-1:]), "certificate 1 of chain cannot be read"),
        (LEAF.pem.replace(b"MII", b"AII", 1), "certificate 1 of chain cannot be read"),
        (LEAF.pem + MIDDLE.pem * MAX_CHAIN, "more than 10 PEM blocks"),
        (b"gw.example.org", "holds no PEM block"),
        (LEAF.der, "chain has a NUL byte"),
    ],
)
def test_what_is_no_chain(chain: bytes, reason: str) -> None:
    assert reason in why(chain)


def test_what_no_tls_server_uses() -> None:
    small = rsa.generate_private_key(65537, 1024)
    leaf = make("gw", ROOT, ca=False, key=small)
    assert "weak key" in why(leaf.pem, leaf.key_pem)
    quantum = make("gw", ROOT, ca=False, key_type=KeyType.ML_DSA_44)
    assert "kind that is not supported" in why(quantum.pem, quantum.key_pem)
    old = dsa.generate_private_key(2048)
    strange = make("gw", ROOT, ca=False, key=old)  # type: ignore[arg-type]
    text = old.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert "kind that is not supported" in why(strange.pem, text)


def test_a_pair_needs_both() -> None:
    assert "no field chain" in refused(SecretKind.CERTIFICATE, named({"private_key": LEAF.key_pem}))
    assert "no field private_key" in refused(SecretKind.CERTIFICATE, named({"chain": LEAF.pem}))
    notes = {"chain": LEAF.pem, "private_key": LEAF.key_pem, "note": b"not sent"}
    assert set(opened(judge(SecretKind.CERTIFICATE, named(notes), EPOCH, LIMITS))) == {"chain", "private_key"}


def bundle(*holders: Holder) -> SecretValue:
    return judge(SecretKind.CA_BUNDLE, named({"ca": b"".join(one.pem for one in holders)}), EPOCH, LIMITS)


def test_a_bundle_is_sent_without_what_has_expired_and_repeats() -> None:
    old = make("old", before=EPOCH - YEAR, after=EPOCH)
    value = bundle(MIDDLE, old, ROOT, MIDDLE)
    assert opened(value) == {"ca": MIDDLE.pem + ROOT.pem}
    assert value.not_after == EPOCH + YEAR
    assert "every certificate of ca has expired" in why_not_trusted(old.pem)


@pytest.mark.parametrize(
    ("ca", "reason"),
    [
        (ROOT.pem + LEAF.pem, "certificate 2 of ca is not an authority's"),
        (ROOT.pem + ROOT.key_pem, "ca holds a private key"),
        (ROOT.pem[:-3], "cut off"),
        (b"spiffe", "holds no PEM block"),
        (b" ", "holds no PEM block"),
    ],
)
def test_what_nobody_is_to_trust(ca: bytes, reason: str) -> None:
    assert reason in why_not_trusted(ca)

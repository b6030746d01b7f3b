"""A company's authority in files: every file that must not be used, and why it says so."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from ca.errors import AuthorityUnavailable
from ca.keys import KeyType
from ca.masked import Masked
from ca.upstreams.disk import MAX_FILE_BYTES, parse_issuer, try_out
from ca.upstreams.issuing import Issuer
from tests.fakes.ca import TRUST_DOMAIN, serial_source
from tests.fakes.clock import EPOCH
from tests.fakes.pki import YEAR, Holder, make, usage

ROOT = make("root")
ISSUING = make("issuing", ROOT)


def parse(certificates: bytes, key: Holder | bytes, bundle: bytes | None = None) -> Issuer:
    pem = key if isinstance(key, bytes) else key.key_pem
    issuer = parse_issuer(certificates, Masked(pem), bundle, EPOCH)
    try_out(issuer, TRUST_DOMAIN, serial_source(), EPOCH)
    return issuer


def test_a_root_of_its_own_sends_nothing_above_and_is_what_is_trusted() -> None:
    issuer = parse(ROOT.pem, ROOT)
    assert (issuer.chain, issuer.roots, issuer.path_length) == ((), (ROOT.der,), None)


@pytest.mark.parametrize("with_root", [True, False])
def test_what_is_between_is_sent_and_the_root_is_not(with_root: bool) -> None:
    low = make("low", ISSUING)
    certificates = low.pem + ISSUING.pem + (ROOT.pem if with_root else b"")
    issuer = parse(certificates, low, None if with_root else ROOT.pem)
    assert (issuer.chain, issuer.roots) == ((low.der, ISSUING.der), (ROOT.der,))


def test_the_bundle_may_have_roots_that_are_to_come() -> None:
    coming = make("coming")
    assert parse(ISSUING.pem, ISSUING, ROOT.pem + coming.pem + ROOT.pem).roots == (ROOT.der, coming.der)


def test_the_shortest_life_of_the_path_counts() -> None:
    root = make("root", after=EPOCH + timedelta(days=10))
    issuer = parse(make("issuing", root, key=ISSUING.key).pem, ISSUING, root.pem)
    assert issuer.validity.not_after == EPOCH + timedelta(days=10)


@pytest.mark.parametrize(
    ("root_length", "own_length", "below"), [(None, None, None), (None, 1, 1), (2, None, 1), (3, 1, 1), (1, 5, None)]
)
def test_path_lengths_of_the_whole_path_count(
    root_length: int | None, own_length: int | None, below: int | None
) -> None:
    root = make("root", path_length=root_length)
    issuing = make("issuing", root, path_length=own_length)
    if (root_length, own_length) == (1, 5):  # the root allows one level, and that is the issuer itself
        with pytest.raises(AuthorityUnavailable, match="path length"):
            parse(issuing.pem, issuing, root.pem)
        return
    assert parse(issuing.pem, issuing, root.pem).path_length == below


@pytest.mark.parametrize("key_type", [KeyType.RSA_2048, KeyType.ECDSA_P384, KeyType.ED25519])
def test_kinds_of_keys(key_type: KeyType) -> None:
    root = make("root", key_type=key_type)
    assert parse(root.pem, root).roots == (root.der,)


def traditional(holder: Holder) -> bytes:
    return holder.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def test_the_older_form_of_a_key_is_read() -> None:
    assert parse(ROOT.pem, traditional(ROOT)).roots == (ROOT.der,)


def encrypted(holder: Holder) -> bytes:
    return holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


@cache
def weak() -> Holder:
    return make("weak", key=rsa.generate_private_key(65537, 1024))


@cache
def below_weak() -> Holder:
    return make("below weak", weak())


def odd_curve() -> Holder:
    return make("odd", key=ec.generate_private_key(ec.SECP521R1()))


EXPIRED = make("expired", after=EPOCH - timedelta(seconds=1))
COMING = make("coming", before=EPOCH + timedelta(hours=1))
LEAF = make("leaf", ROOT, ca=False)
NO_SIGNING = make("no signing", ROOT, key_usage=usage(signature=True))
OTHER_ORG = make(
    "constrained", ROOT, more=[(x509.NameConstraints([x509.UniformResourceIdentifier("example.com")], None), True)]
)
OUR_ORG = make(
    "constrained", ROOT, more=[(x509.NameConstraints([x509.UniformResourceIdentifier("example.org")], None), True)]
)
OTHER_NAMES = make(
    "constrained", ROOT, more=[(x509.NameConstraints([x509.DirectoryName(ROOT.certificate.subject)], None), True)]
)


@pytest.mark.parametrize(
    ("certificates", "key", "bundle", "problem"),
    [
        (b"", ROOT, None, "no PEM certificate"),
        (b"junk", ROOT, None, "no PEM certificate"),
        (ROOT.pem[:200], ROOT, None, "no PEM certificate"),  # half written
        (ROOT.pem.replace(b"MII", b"AAA"), ROOT, None, "cannot be read"),
        (ROOT.key_pem + ROOT.pem, ROOT, None, "something other than certificates"),
        (b"x" * (MAX_FILE_BYTES + 1), ROOT, None, "more than .* bytes"),
        (ISSUING.pem, ISSUING, None, "does not end with a self-signed root"),
        (ISSUING.pem, ISSUING, b"", "the bundle file holds no PEM certificate"),
        (ISSUING.pem, ISSUING, make("root").pem, "does not lead to a root"),
        (ROOT.pem + ISSUING.pem, ISSUING, None, "does not hold the key"),  # in the wrong order
        (ISSUING.pem + make("strange").pem, ISSUING, None, "does not lead to a root"),
        (ROOT.pem, ISSUING, None, "does not hold the key"),  # the pair is half replaced
        (ROOT.pem, b"", None, "the key file cannot be used"),
        (ROOT.pem, ROOT.pem, None, "the key file cannot be used"),
        (ROOT.pem, encrypted(ROOT), None, "the key file cannot be used"),
        (weak().pem, ROOT, None, "does not hold the key"),
        (odd_curve().pem, ROOT, None, "does not hold the key"),
        (EXPIRED.pem, EXPIRED, None, "is valid only from"),
        (COMING.pem, COMING, None, "is valid only from"),
        (LEAF.pem, LEAF, ROOT.pem, "is not an authority"),
        (NO_SIGNING.pem, NO_SIGNING, ROOT.pem, "may not sign certificates"),
        (make("only", path_length=0, key=ROOT.key).pem, ROOT, None, "path length"),
        (ROOT.pem, ROOT, ROOT.pem + LEAF.pem, "not an authority"),  # agents would refuse the bundle that has it
        (ROOT.pem, ROOT, ROOT.pem + weak().pem, "1024 bits"),
        (below_weak().pem, below_weak(), weak().pem, "1024 bits"),
        (OTHER_ORG.pem, OTHER_ORG, ROOT.pem, "name constraints"),
        (OTHER_NAMES.pem, OTHER_NAMES, ROOT.pem, "name constraints"),
    ],
)
def test_what_cannot_be_used_says_why(
    certificates: bytes, key: Holder | bytes, bundle: bytes | None, problem: str
) -> None:
    with pytest.raises(AuthorityUnavailable, match=problem) as refused:
        parse(certificates, key, bundle)
    assert "PRIVATE" not in str(refused.value)


@pytest.mark.parametrize("holder", [weak(), odd_curve()])
def test_weak_and_odd_keys_are_refused(holder: Holder) -> None:
    with pytest.raises(AuthorityUnavailable, match="the key file cannot be used"):
        parse(holder.pem, holder)


def test_name_constraints_that_allow_the_trust_domain_are_no_hindrance() -> None:
    assert parse(OUR_ORG.pem, OUR_ORG, ROOT.pem).chain == (OUR_ORG.der,)


def test_what_was_sound_once_is_judged_by_the_present() -> None:
    issuer = parse_issuer(ROOT.pem, Masked(ROOT.key_pem), None, EPOCH)
    with pytest.raises(AuthorityUnavailable, match="expires"):
        try_out(issuer, TRUST_DOMAIN, serial_source(), EPOCH + YEAR + timedelta(days=1))


def test_an_issuer_without_a_key_identifier_is_named_by_its_key() -> None:
    """RFC 5280 4.2.1.2 wants one, and not everybody has it."""
    root = make("root", key_id=False)
    assert parse(root.pem, root).roots == (root.der,)


def test_nothing_of_the_key_shows() -> None:
    assert "PRIVATE" not in repr(parse(ROOT.pem, ROOT))

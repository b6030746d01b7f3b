"""An old authority vouches for a new one: leaves then verify for those who know only the old, and for all others."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from attestation.spiffe_id import TrustDomain
from ca.authority import Authority, SigningAuthority
from ca.bundle import to_pem
from ca.chains.cross_sign import cross_signed_chain
from ca.errors import AuthorityUnavailable, IssuanceRefused
from ca.keys import KeyType, PrivateKey, generate
from ca.signer import Scheme, Signer
from tests.fakes.ca import Holder, make_authority, make_svid, serial_source
from tests.fakes.clock import EPOCH
from tests.fakes.pki import YEAR, make

NOW = EPOCH + timedelta(days=60)


def vouched(new: SigningAuthority, old: SigningAuthority, now: datetime = NOW) -> SigningAuthority:
    chain = cross_signed_chain(new.authority, old, serial_source(), now)
    return replace(new, authority=replace(new.authority, chain=chain))


def leaf_under(authority: SigningAuthority) -> Holder:
    return make_svid("spiffe://example.org/web", authority, now=NOW)


def library_verifies(chain: tuple[bytes, ...], root: SigningAuthority) -> None:
    leaf, *above = map(x509.load_der_x509_certificate, chain)
    PolicyBuilder().store(Store([root.certificate])).time(NOW).build_client_verifier().verify(leaf, above)


def openssl_verifies(chain: tuple[bytes, ...], root: SigningAuthority, folder: Path) -> None:
    leaf, *above = chain
    for name, content in (("root", [root.authority.certificate]), ("leaf", [leaf]), ("above", above)):
        (folder / name).write_bytes(b"".join(map(to_pem, content)))
    arguments = ["-x509_strict", "-attime", str(int(NOW.timestamp())), "-CAfile", str(folder / "root")]
    untrusted = ["-untrusted", str(folder / "above")] if above else []
    done = subprocess.run(
        ["openssl", "verify", *arguments, *untrusted, str(folder / "leaf")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("old_type", [KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.RSA_2048])
@pytest.mark.parametrize("new_type", [KeyType.ECDSA_P256, KeyType.RSA_3072])
def test_a_leaf_verifies_by_the_old_root_alone_and_by_the_new_one_alone(
    keys: Mapping[KeyType, PrivateKey], tmp_path: Path, old_type: KeyType, new_type: KeyType
) -> None:
    old = make_authority(key_type=old_type, key=keys[old_type])
    new = vouched(make_authority(key_type=new_type, now=NOW), old)
    chain = leaf_under(new).issued.chain
    assert len(chain) == 2
    for root in (old, new):
        library_verifies(chain, root)
        openssl_verifies(chain, root, tmp_path)


def test_without_the_cross_certificate_the_old_root_is_no_use(tmp_path: Path) -> None:
    """The tests before would prove nothing if any root did."""
    old = make_authority()
    chain = leaf_under(make_authority(now=NOW)).issued.chain
    with pytest.raises(x509.verification.VerificationError):
        library_verifies(chain, old)
    with pytest.raises(AssertionError):
        openssl_verifies(chain, old, tmp_path)


def test_what_the_cross_certificate_says() -> None:
    old, new = make_authority(), make_authority(now=NOW)
    (der,) = cross_signed_chain(new.authority, old, 77, NOW)
    cross = x509.load_der_x509_certificate(der)
    assert cross.subject == new.certificate.subject
    assert cross.public_key() == new.certificate.public_key()
    assert cross.issuer == old.certificate.subject
    assert cross.serial_number == 77
    key_id = cross.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert key_id is not None and key_id.hex() == old.authority.id
    own = cross.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert own == new.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    # As long as both are valid: from the new one's beginning to the old one's end.
    assert cross.not_valid_before_utc == new.authority.not_before
    assert cross.not_valid_after_utc == old.authority.not_after
    cross.verify_directly_issued_by(old.certificate)


def test_two_generations_in_a_row() -> None:
    """Whoever still knows only the first follows both steps, because the second sends what the first one gave it."""
    first = make_authority()
    second = vouched(make_authority(now=NOW), first)
    third = vouched(make_authority(now=NOW), second)
    chain = leaf_under(third).issued.chain
    assert len(chain) == 3
    for root in (first, second, third):
        library_verifies(chain, root)


def altered(change: Callable[[Authority], Authority]) -> Callable[[SigningAuthority], SigningAuthority]:
    return lambda signing: replace(signing, authority=change(signing.authority))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (altered(lambda a: replace(a, tainted=True)), None, "tainted or revoked"),
        (altered(lambda a: replace(a, revoked=True)), None, "tainted or revoked"),
        (None, altered(lambda a: replace(a, tainted=True)), "tainted or revoked"),
        (None, altered(lambda a: replace(a, revoked=True)), "tainted or revoked"),
        (None, altered(lambda a: replace(a, roots=(b"root",))), "below an upstream"),
        (altered(lambda a: replace(a, not_after=NOW - timedelta(seconds=1))), None, "not both valid"),
        (None, altered(lambda a: replace(a, not_before=NOW + timedelta(seconds=1))), "not both valid"),
        (altered(lambda a: replace(a, trust_domain=TrustDomain("other.org"))), None, "they are not two"),
    ],
)
def test_who_vouches_for_nobody(
    old: Callable[[SigningAuthority], SigningAuthority] | None,
    new: Callable[[SigningAuthority], SigningAuthority] | None,
    problem: str,
) -> None:
    before, after = make_authority(), make_authority(now=NOW)
    before, after = (old(before) if old else before), (new(after) if new else after)
    with pytest.raises(IssuanceRefused, match=problem):
        cross_signed_chain(after.authority, before, 1, NOW)


def test_nobody_vouches_for_himself() -> None:
    old = make_authority()
    with pytest.raises(IssuanceRefused, match="they are not two"):
        cross_signed_chain(old.authority, old, 1, NOW)


class Confused:
    """A remote key that signs something else than it is told."""

    def __init__(self, inner: Signer) -> None:
        self._inner = inner
        self.public_key = inner.public_key

    def sign(self, messages: Sequence[bytes], *, scheme: Scheme = Scheme.X509) -> list[bytes]:
        return self._inner.sign([message[::-1] for message in messages], scheme=scheme)


def test_a_key_that_signs_something_else_is_found_out() -> None:
    old = make_authority()
    with pytest.raises(AuthorityUnavailable, match="no sound cross certificate"):
        cross_signed_chain(make_authority(now=NOW).authority, replace(old, signer=Confused(old.signer)), 1, NOW)


def test_an_old_authority_that_allows_none_below_it_vouches_for_nobody() -> None:
    """Path length 0: what it signed would never verify."""
    key = generate(KeyType.ECDSA_P256)
    certificate = make("old", key=key, path_length=0, sans=[x509.UniformResourceIdentifier("spiffe://example.org")])
    old = make_authority(key=key)
    old = replace(old, certificate=certificate.certificate)
    old = replace(old, authority=replace(old.authority, certificate=certificate.der, not_after=EPOCH + YEAR))
    with pytest.raises(AuthorityUnavailable, match="path length"):
        cross_signed_chain(make_authority(now=NOW).authority, old, 1, NOW)

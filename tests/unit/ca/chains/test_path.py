"""Paths to a root: what leads there, and every single thing that breaks them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.chains.path import check_path, find_path
from ca.errors import InvalidPath
from ca.keys import KeyType
from tests.fakes.clock import EPOCH
from tests.fakes.pki import YEAR, Holder, make, usage

ID = x509.UniformResourceIdentifier("spiffe://example.org/web")
ROOT = make("root")
MIDDLE = make("middle", ROOT)
LOW = make("low", MIDDLE)
LEAF = make("leaf", LOW, ca=False, sans=[ID])


def certificates(*holders: Holder) -> list[x509.Certificate]:
    return [holder.certificate for holder in holders]


def test_a_path_is_found_from_the_leaf_up_to_a_root() -> None:
    found = find_path(certificates(LEAF, LOW, MIDDLE), certificates(make("other"), ROOT), EPOCH)
    assert list(found) == certificates(LEAF, LOW, MIDDLE, ROOT)


def test_the_nearest_trusted_certificate_ends_the_path() -> None:
    assert list(find_path(certificates(LEAF, LOW, MIDDLE), certificates(LOW), EPOCH)) == certificates(LEAF, LOW)
    assert list(find_path(certificates(LEAF, LOW, MIDDLE, ROOT), certificates(ROOT), EPOCH)) == certificates(
        LEAF, LOW, MIDDLE, ROOT
    )


def test_of_two_roots_with_one_name_the_one_that_signed_is_found() -> None:
    namesake = make("root")
    assert find_path(certificates(MIDDLE), certificates(namesake, ROOT), EPOCH)[-1] == ROOT.certificate


@pytest.mark.parametrize("key_type", [KeyType.ED25519, KeyType.RSA_2048, KeyType.ECDSA_P384])
def test_authorities_with_other_keys(key_type: KeyType) -> None:
    root = make("root", key_type=key_type)
    middle = make("middle", root, key_type=KeyType.ED25519)
    leaf = make("leaf", middle, ca=False, sans=[ID])
    assert len(find_path(certificates(leaf, middle), certificates(root), EPOCH)) == 3


@pytest.mark.parametrize(
    ("chain", "roots", "problem"),
    [
        ([], [ROOT], "there is no certificate"),
        ([LEAF, LOW, MIDDLE], [], "no.* root that is trusted|not signed by any root"),
        ([LEAF, MIDDLE], [ROOT], "CN=leaf.* is not signed by .*CN=middle"),  # one is missing
        ([LEAF, LOW, MIDDLE], [make("root")], "CN=middle.* is not signed by .*CN=root"),
        ([LEAF, LOW], [ROOT], "CN=low.* is not signed by any root"),
    ],
)
def test_what_leads_nowhere(chain: Sequence[Holder], roots: Sequence[Holder], problem: str) -> None:
    with pytest.raises(InvalidPath, match=problem):
        find_path(certificates(*chain), certificates(*roots), EPOCH)


def spoilt(**changes: object) -> tuple[Holder, Holder, Holder]:
    """Leaf, authority, root; the authority is not as it should be."""
    authority = make("authority", ROOT, **changes)  # type: ignore[arg-type]
    return make("leaf", authority, ca=False, sans=[ID]), authority, ROOT


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"ca": False}, "is not an authority"),
        ({"key_usage": usage(signature=True, crl_sign=True)}, "may not sign certificates"),
        ({"after": EPOCH - timedelta(seconds=1)}, "is valid only from"),
        ({"before": EPOCH + timedelta(seconds=1)}, "is valid only from"),
        ({"more": [(UNKNOWN, True)]}, "critical extension that is not understood"),
        ({"more": [(x509.PolicyConstraints(0, None), True)]}, "critical extension that is not understood"),
        ({"more": [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)]}, "not for TLS"),
        ({"more": [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)]}, "not for TLS"),
        (
            {"more": [(x509.NameConstraints([x509.UniformResourceIdentifier("other.org")], None), True)]},
            "may not name what is below it",
        ),
    ],
)
def test_an_authority_that_may_not(changes: dict[str, object], problem: str) -> None:
    leaf, authority, root = spoilt(**changes)
    with pytest.raises(InvalidPath, match=problem):
        find_path(certificates(leaf, authority), certificates(root), EPOCH)


@pytest.mark.parametrize(
    "more",
    [
        [(UNKNOWN, False)],
        [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False)],
        [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), True)],
        [(x509.NameConstraints([x509.UniformResourceIdentifier("example.org")], None), True)],
        [(x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)]), True)],
    ],
)
def test_an_authority_that_may(more: list[tuple[x509.ExtensionType, bool]]) -> None:
    leaf, authority, root = spoilt(more=more)
    assert len(find_path(certificates(leaf, authority), certificates(root), EPOCH)) == 3


def test_the_root_is_judged_like_any_authority() -> None:
    expired = make("root", after=EPOCH - timedelta(seconds=1))
    with pytest.raises(InvalidPath, match="is valid only"):
        find_path(certificates(make("leaf", expired, ca=False)), certificates(expired), EPOCH)
    no_authority = make("root", ca=False)
    with pytest.raises(InvalidPath, match="is not an authority"):
        find_path(certificates(make("leaf", no_authority, ca=False)), certificates(no_authority), EPOCH)


@pytest.mark.parametrize(("limit", "levels"), [(0, 0), (1, 1), (2, 2), (None, 4)])
@pytest.mark.parametrize("issuing", [False, True])
def test_path_lengths(limit: int | None, levels: int, issuing: bool) -> None:
    """RFC 5280 4.2.1.9 counts the authorities between the limited one and the leaf."""
    root = make("root", path_length=limit)
    below: list[Holder] = [root]
    for number in range(levels):
        below.append(make(f"level {number}", below[-1]))
    end = [] if issuing else [make("leaf", below[-1], ca=False, sans=[ID])]
    chain = [*end, *reversed(below[1:])]
    if chain:
        find_path(certificates(*chain), certificates(root), EPOCH, issuing=issuing)
    if limit is None:
        return
    below.append(make("one too many", below[-1]))
    end = [] if issuing else [make("leaf", below[-1], ca=False, sans=[ID])]
    with pytest.raises(InvalidPath, match="path length"):
        find_path(certificates(*end, *reversed(below[1:])), certificates(root), EPOCH, issuing=issuing)


def test_a_self_issued_certificate_takes_no_level() -> None:
    """RFC 5280 6.1.4 l: a key rollover is no level of its own."""
    root = make("root", path_length=1)
    rolled = make("root", root)
    authority = make("authority", rolled)
    leaf = make("leaf", authority, ca=False, sans=[ID])
    assert len(find_path(certificates(leaf, authority, rolled), certificates(root), EPOCH)) == 4


def test_a_leaf_is_no_authority() -> None:
    with pytest.raises(InvalidPath, match="is not an authority"):
        find_path(certificates(LEAF, LOW, MIDDLE), certificates(ROOT), EPOCH, issuing=True)


def test_a_weak_digest() -> None:
    class Weak:
        """A certificate by SHA-1, which the library does not make any more."""

        def __init__(self, inner: x509.Certificate) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> object:
            return hashes.SHA1() if name == "signature_hash_algorithm" else getattr(self._inner, name)

    with pytest.raises(InvalidPath, match="signed with sha1"):
        check_path([Weak(MIDDLE.certificate), ROOT.certificate], EPOCH)  # type: ignore[list-item]


def test_constraints_bind_everything_below_and_not_only_the_next() -> None:
    only = [(x509.NameConstraints([x509.UniformResourceIdentifier("other.org")], None), True)]
    root = make("root", more=only)
    middle = make("middle", root)
    low = make("low", middle)
    leaf = make("leaf", low, ca=False, sans=[ID])
    with pytest.raises(InvalidPath, match=r"CN=root.* may not name .*example\.org/web"):
        find_path(certificates(leaf, low, middle), certificates(root), EPOCH)


def test_garbage_in_extensions_is_refused() -> None:
    broken = make("broken", ROOT, more=[(x509.UnrecognizedExtension(x509.NameConstraints.oid, b"garbage"), True)])
    leaf = make("leaf", broken, ca=False)
    with pytest.raises(InvalidPath, match="cannot be read"):
        find_path(certificates(leaf, broken), certificates(ROOT), EPOCH)


@pytest.mark.parametrize(("end", "beyond"), [(timedelta(days=-1), -1), (YEAR, 1)])
def test_the_ends_of_a_validity_count(end: timedelta, beyond: int) -> None:
    find_path(certificates(LEAF, LOW, MIDDLE), certificates(ROOT), EPOCH + end)
    with pytest.raises(InvalidPath, match="is valid only"):
        find_path(certificates(LEAF, LOW, MIDDLE), certificates(ROOT), EPOCH + end + timedelta(seconds=beyond))

"""Hostile chains: who stands between a leaf and a trusted authority, and may not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

import pytest
from cryptography import x509

from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle, make_bundle
from ca.errors import InvalidBundle, InvalidSvid
from ca.svid import parse_svid
from ca.verify import verify_svid
from tests.fakes.ca import make_authority
from tests.fakes.clock import EPOCH
from tests.unit.ca import der
from tests.unit.ca.hostile.certificates import (
    DNS,
    LEAF,
    LEAF_EXTENSIONS,
    MIDDLE,
    NAME_CONSTRAINTS,
    ROOT,
    TLS,
    UNKNOWN,
    URI,
    WEB,
    Parts,
    Party,
    constraints,
    key_usage,
    leaf,
    middle,
    name,
    names,
    purposes,
    root,
    uri,
)

TD = TrustDomain("example.org")
STRANGER = Party()


def bundle(*authorities: bytes) -> TrustBundle:
    return make_bundle(TD, authorities or (root(),))


def verify(chain: Sequence[bytes], trusted: TrustBundle | None = None) -> None:
    verify_svid(parse_svid(chain), trusted or bundle(), EPOCH)


def below(*more: bytes, **changes: object) -> bytes:
    """A leaf below `middle`."""
    return leaf(*more, issuer=MIDDLE, under="middle", **changes)


def limited(*, permitted: Sequence[bytes] = (), excluded: Sequence[bytes] = ()) -> bytes:
    """Name constraints (RFC 5280 4.2.1.10)."""
    parts = [
        der.tlv(tag, *(der.tlv(der.SEQUENCE, subtree) for subtree in subtrees))
        for tag, subtrees in ((0xA0, permitted), (0xA1, excluded))
        if subtrees
    ]
    return der.extension(NAME_CONSTRAINTS, der.tlv(der.SEQUENCE, *parts), critical=True)


def host(text: str) -> bytes:
    return der.tlv(URI, text.encode())


def domain(text: str) -> bytes:
    return der.tlv(DNS, text.encode())


DNS_LEAF = {"names": names(uri(WEB), domain("web.example.org"))}
SOUND: Mapping[str, Callable[[], Sequence[bytes]]] = {
    "below the root": lambda: [leaf()],
    "below an intermediate": lambda: [below(), middle()],
    "with a root that nobody asked for": lambda: [leaf(), root()],
    "within a path length": lambda: [below(), middle(path_length=0)],
    "within constraints on URIs": lambda: [below(), middle(limited(permitted=[host("example.org")]))],
    "beside excluded URIs": lambda: [below(), middle(limited(excluded=[host("other.example")]))],
    "within constraints on DNS names": lambda: [
        below(**DNS_LEAF),
        middle(limited(permitted=[domain("example.org")])),
    ],
    "an authority for TLS": lambda: [below(), middle(TLS)],
    "an unknown extension that is not critical": lambda: [leaf(der.extension(UNKNOWN, b"\x05\0"))],
}


@pytest.mark.parametrize("make", SOUND.values(), ids=SOUND)
def test_the_generator_makes_sound_chains(make: Callable[[], Sequence[bytes]]) -> None:
    verify(make())
    with pytest.raises(InvalidSvid):
        verify(make(), bundle(make_authority().authority.certificate))


def forged_signature() -> bytes:
    made = bytearray(leaf())
    made[-1] ^= 1
    return bytes(made)


HOSTILE: Mapping[str, Callable[[], Sequence[bytes]]] = {
    # The signature
    "a signature of somebody else": lambda: [leaf(issuer=STRANGER)],
    "a signature that was altered": lambda: [forged_signature()],
    "signed by itself": lambda: [leaf(issuer=LEAF, under="web")],
    "another algorithm outside than inside": lambda: [
        leaf_said(algorithm=der.tlv(der.SEQUENCE, der.oid(der.ECDSA_SHA384)))
    ],
    "another algorithm inside than outside": lambda: [
        leaf_said(inner=der.tlv(der.SEQUENCE, der.oid(der.ECDSA_SHA384)))
    ],
    "an unknown algorithm": lambda: [leaf_said(algorithm=UNKNOWN_ALGORITHM, inner=UNKNOWN_ALGORITHM)],
    # Time
    "ended": lambda: [leaf(end=EPOCH - timedelta(seconds=1))],
    "not yet begun": lambda: [leaf(start=EPOCH + timedelta(seconds=1))],
    "below an intermediate that has ended": lambda: [below(), middle(end=EPOCH - timedelta(seconds=1))],
    # Who may issue
    "below a leaf": lambda: [leaf(issuer=LEAF, under="web", spki=STRANGER.spki), leaf()],
    "below an intermediate that is none": lambda: [below(), middle(basic=constraints(ca=False))],
    "below an intermediate that says so softly": lambda: [
        below(),
        middle(basic=constraints(ca=False, critical=False)),
    ],
    "below one that may not sign certificates": lambda: [
        below(),
        middle(extensions=(constraints(ca=True), key_usage(0x02, 1), MIDDLE.key_id(), ROOT.issuer_id())),
    ],
    "below an intermediate of a stranger": lambda: [below(), stranger_middle()],
    "without its intermediate": lambda: [below()],
    "below an intermediate for mail": lambda: [below(), middle(purposes("1.3.6.1.5.5.7.3.4"))],
    "a leaf for mail": lambda: [leaf(purposes=purposes("1.3.6.1.5.5.7.3.4"))],
    "a leaf for servers alone": lambda: [leaf(purposes=purposes("1.3.6.1.5.5.7.3.1"))],
    # Names
    "a URI that is not permitted": lambda: [below(), middle(limited(permitted=[host("other.example")]))],
    "a URI below what is permitted": lambda: [below(), middle(limited(permitted=[host(".example.org")]))],
    "a URI that is excluded": lambda: [below(), middle(limited(excluded=[host("example.org")]))],
    "a DNS name that is not permitted": lambda: [
        below(**DNS_LEAF),
        middle(limited(permitted=[domain("example.com")])),
    ],
    "a DNS name that is excluded": lambda: [below(**DNS_LEAF), middle(limited(excluded=[domain("example.org")]))],
    "constraints that nobody understands": lambda: [
        below(names=names(uri(WEB), der.tlv(0x88, b"\x2a\x03"))),
        middle(limited(permitted=[der.tlv(0x88, b"\x2a\x03"), host("example.org")])),
    ],
    # Extensions
    "an unknown critical extension": lambda: [leaf(der.extension(UNKNOWN, b"\x05\0", critical=True))],
    "one in an intermediate": lambda: [below(), middle(der.extension(UNKNOWN, b"\x05\0", critical=True))],
    "one in an intermediate with constraints": lambda: [
        below(),
        middle(limited(permitted=[host("example.org")]), der.extension(UNKNOWN, b"\x05\0", critical=True)),
    ],
    "an intermediate with an extension twice": lambda: [below(), middle(names(uri(WEB)))],
    "an intermediate that is no certificate": lambda: [below(), b"\x30\x03\x02\x01\x05"],
    "an intermediate of version 4": lambda: [below(), middle(version=3)],
    "an intermediate with something behind": lambda: [below(), middle() + b"\0"],
}
UNKNOWN_ALGORITHM = der.tlv(der.SEQUENCE, der.oid("1.2.3.4.5"))


def leaf_said(*, algorithm: bytes = b"", inner: bytes = b"") -> bytes:
    parts = Parts(issuer=name("root"), spki=LEAF.spki, extensions=(*LEAF_EXTENSIONS.values(), ROOT.issuer_id()))
    return parts.signed(ROOT.key, algorithm=algorithm, inner=inner)


def stranger_middle() -> bytes:
    """A sound intermediate, but below a stranger who calls himself root."""
    extensions = (constraints(ca=True), key_usage(0x06, 1), MIDDLE.key_id(), ROOT.issuer_id())
    return Parts(subject=name("middle"), issuer=name("root"), spki=MIDDLE.spki, extensions=extensions).signed(
        STRANGER.key
    )


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_hostile_chains_are_refused(make: Callable[[], Sequence[bytes]]) -> None:
    with pytest.raises(InvalidSvid):
        verify(make())


def third(path_length: int | None) -> Sequence[bytes]:
    """A leaf below two intermediates, the upper of which has this path length."""
    lower = Party()
    extensions = (constraints(ca=True), key_usage(0x06, 1), lower.key_id(), MIDDLE.issuer_id(), names(uri(WEB)))
    parts = Parts(subject=name("lower"), issuer=name("middle"), spki=lower.spki, extensions=extensions)
    return [leaf(issuer=lower, under="lower"), parts.signed(MIDDLE.key), middle(path_length=path_length)]


def test_path_lengths_are_counted() -> None:
    verify(third(None))
    verify(third(1))
    with pytest.raises(InvalidSvid):
        verify(third(0))


@pytest.mark.parametrize(
    "trusted",
    [
        lambda: root(limited(permitted=[host("other.example")])),
        lambda: root(limited(excluded=[host("example.org")])),
        lambda: root(end=EPOCH - timedelta(seconds=1)),
        lambda: root(purposes("1.3.6.1.5.5.7.3.4")),
    ],
)
def test_a_trusted_authority_binds_as_well(trusted: Callable[[], bytes]) -> None:
    """What a company lets its root name holds, though RFC 5280 leaves trust anchors out of its algorithm."""
    with pytest.raises(InvalidSvid):
        verify([leaf()], bundle(trusted()))


def test_a_chain_may_hold_what_leads_elsewhere_but_not_replace_what_is_missing() -> None:
    verify([below(), middle(), stranger_middle()])
    with pytest.raises(InvalidSvid):
        verify([below(), stranger_middle(), stranger_middle()])


CHAINS = ([below(), middle()], [below(), middle(limited(permitted=[host("example.org")]))])


@pytest.mark.parametrize("chain", CHAINS, ids=["the library's", "our own"])
@pytest.mark.parametrize("which", [0, 1], ids=["leaf", "intermediate"])
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_no_altered_octet_verifies(chain: Sequence[bytes], which: int) -> None:
    """Both verifiers, over every octet: each is signed, or is of the signature.

    The one exception says how many bits of the signature's last octet are padding: where they are zero anyway, it is
    proper DER and the same signature.
    """
    trusted = bundle()
    signature = len(x509.load_der_x509_certificate(chain[which]).signature)
    for at in range(len(chain[which])):
        for flip in (0x01, 0x20, 0x80, 0xFF):
            altered = [bytearray(each) for each in chain]
            altered[which][at] ^= flip
            try:
                verify([bytes(each) for each in altered], trusted)
            except InvalidSvid:
                continue
            assert at == len(chain[which]) - signature - 1, (at, flip)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_no_altered_authority_is_more_than_refused() -> None:
    """A bundle that was altered is refused, or verifies nothing by what was altered into it."""
    whole = root()
    for at in range(len(whole)):
        altered = bytearray(whole)
        altered[at] ^= 0x21
        try:
            trusted = bundle(bytes(altered))
        except InvalidBundle:
            continue
        assert len(trusted.x509_authorities) == 1
        for chain in ([leaf()], CHAINS[1]):
            with suppress(InvalidSvid):  # by names, constraints or key; its own signature is nothing that counts
                verify(chain, trusted)

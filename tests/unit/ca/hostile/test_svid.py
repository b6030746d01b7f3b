"""Hostile leaves: what reading an SVID refuses, and what it never looks at."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import pytest

from ca.errors import InvalidSvid
from ca.svid import MAX_CERTIFICATE_BYTES, parse_svid
from tests.unit.ca import der
from tests.unit.ca.hostile.certificates import (
    DIRECTORY,
    DNS,
    OTHER,
    UNKNOWN,
    WEB,
    constraints,
    key_usage,
    leaf,
    name,
    names,
    purposes,
    uri,
)

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")  # which production only warns of, too

MANY = [der.tlv(DNS, b"%055d.example.org" % n) for n in range(150)]
SPIFFE_UPN = der.tlv(OTHER, der.oid("1.3.6.1.4.1.311.20.2.3"), der.tlv(0xA0, der.tlv(der.UTF8, WEB.encode())))

REFUSED: Mapping[str, Callable[[], bytes]] = {
    "100 kB of names": lambda: leaf(names=names(uri(WEB), *MANY * 10)),
    "RSA of 16384 bits": lambda: leaf(spki=der.rsa_spki(1 << 16383 | 1, 65537)),
    "RSA of 1024 bits": lambda: leaf(spki=der.rsa_spki(1 << 1023 | 1, 65537)),
    "RSA exponent 1": lambda: leaf(spki=der.rsa_spki(1 << 2047 | 1, 1)),
    "RSA exponent 3": lambda: leaf(spki=der.rsa_spki(1 << 2047 | 1, 3)),
    "RSA exponent of 70 bits": lambda: leaf(spki=der.rsa_spki(1 << 2047 | 1, 1 << 70 | 1)),
    "a point off the curve": lambda: leaf(spki=der.ec_spki(der.oid("1.2.840.10045.3.1.7"), b"\x04" + b"\1" * 64)),
    "a curve of 192 bits": lambda: leaf(
        spki=der.ec_spki(
            der.oid("1.2.840.10045.3.1.1"),
            bytes.fromhex(
                "04188da80eb03090f67cbf20eb43a18800f4ff0afd82ff101207192b95ffc8da78631011ed6b24cdd573f977a11e794811"
            ),
        )
    ),
    "the identity of Ed25519": lambda: leaf(spki=der.ed25519_spki(b"\x01" + b"\0" * 31)),
    "negative serial": lambda: leaf(serial=der.integer(-5)),
    "serial zero": lambda: leaf(serial=der.integer(0)),
    "serial of 21 octets": lambda: leaf(serial=der.integer(1 << 160)),
    "serial with an octet too many": lambda: leaf(serial=der.tlv(der.INTEGER, b"\0\5")),
    "version 1 with extensions": lambda: leaf(version=0),
    "version 4": lambda: leaf(version=3),
    "no extensions": lambda: leaf(extensions=()),
    "names twice": lambda: leaf(names(uri("spiffe://example.org/other"))),
    "key usage twice": lambda: leaf(key_usage(0x80, 7)),
    "constraints twice, the second an authority's": lambda: leaf(constraints(ca=True)),
    "an authority": lambda: leaf(constraints=constraints(ca=True)),
    "an authority that says so softly": lambda: leaf(constraints=constraints(ca=True, critical=False)),
    "may sign certificates": lambda: leaf(usage=key_usage(0x84, 2)),
    "may sign CRLs": lambda: leaf(usage=key_usage(0x82, 1)),
    "may sign nothing": lambda: leaf(usage=key_usage(0x20, 5)),
    "no key usage": lambda: leaf(usage=b""),
    "key usage of no bits": lambda: leaf(
        usage=der.extension("2.5.29.15", der.tlv(der.BIT_STRING, b"\0"), critical=True)
    ),
    "constraints that are no DER": lambda: leaf(constraints=der.extension(der.BASIC_CONSTRAINTS, b"\xff\xff")),
    "constraints with something behind": lambda: leaf(
        constraints=der.extension(der.BASIC_CONSTRAINTS, der.tlv(der.SEQUENCE) + b"\0")
    ),
    "names with something behind": lambda: leaf(
        names=der.extension(der.SUBJECT_ALT_NAME, der.tlv(der.SEQUENCE, uri(WEB)) + b"\0")
    ),
    "no names": lambda: leaf(names=b""),
    "names without any": lambda: leaf(names=names()),
    "two URIs": lambda: leaf(names=names(uri(WEB), uri("spiffe://example.org/admin"))),
    "one URI twice": lambda: leaf(names=names(uri(WEB), uri(WEB))),
    "a SPIFFE ID and a URL": lambda: leaf(names=names(uri(WEB), uri("https://example.org"))),
    "a DNS name that looks like one": lambda: leaf(names=names(der.tlv(DNS, WEB.encode()))),
    "a common name that looks like one": lambda: leaf(names=names(der.tlv(DNS, b"web")), subject=name(WEB)),
    "a directory name that looks like one": lambda: leaf(names=names(der.tlv(DIRECTORY, name(WEB)))),
    "a principal name that looks like one": lambda: leaf(names=names(SPIFFE_UPN)),
    "the trust domain": lambda: leaf(names=names(uri("spiffe://example.org"))),
}

URIS = {
    "a NUL and more": b"spiffe://example.org/web\0.evil",
    "a NUL at the end": b"spiffe://example.org/web\0",
    "a newline": b"spiffe://example.org/web\n",
    "a blank before": b" spiffe://example.org/web",
    "UTF-8 where IA5 belongs": "spiffe://example.org/w\u00e9b".encode(),
    "overlong UTF-8 for a slash": b"spiffe://example.org\xc0\xafweb",
    "invalid UTF-8": b"spiffe://example.org/\xff",
    "a letter of another script": "spiffe://ex\u0430mple.org/web".encode(),
    "UTF-16": "spiffe://example.org/web".encode("utf-16-be"),
    "a byte order mark": b"\xef\xbb\xbfspiffe://example.org/web",
    "a direction mark": "spiffe://example.org/\u202ebew".encode(),
    "percent-encoding": b"spiffe://example.org/%77eb",
    "a percent-encoded slash": b"spiffe://example.org/a%2fb",
    "another scheme's case": b"SPIFFE://example.org/web",
    "another domain's case": b"spiffe://Example.org/web",
    "a user": b"spiffe://example.org@evil.example/web",
    "a port": b"spiffe://example.org:443/web",
    "a query": b"spiffe://example.org/web?admin",
    "a fragment": b"spiffe://example.org/web#admin",
    "a dot segment": b"spiffe://example.org/web/../admin",
    "an empty segment": b"spiffe://example.org//web",
    "a slash at the end": b"spiffe://example.org/web/",
    "a backslash": b"spiffe://example.org\\web",
    "no authority": b"spiffe:///web",
    "no slashes": b"spiffe:example.org/web",
    "nothing": b"",
    "2049 bytes": b"spiffe://example.org/" + b"w" * 2028,
}


def test_the_generator_makes_sound_leaves() -> None:
    """Otherwise the refusals below would prove nothing."""
    svid = parse_svid([leaf()])
    assert (str(svid.spiffe_id), svid.serial) == (WEB, "05")


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_hostile_leaves_are_refused_quickly(make: Callable[[], bytes]) -> None:
    made = make()
    started = time.thread_time()
    with pytest.raises(InvalidSvid):
        parse_svid([made])
    assert time.thread_time() - started < 1


@pytest.mark.parametrize("text", URIS.values(), ids=URIS)
def test_uris_in_disguise_are_refused(text: bytes) -> None:
    with pytest.raises(InvalidSvid):
        parse_svid([leaf(names=names(uri(text)))])


@pytest.mark.parametrize("tag", [der.UTF8, der.IA5, 0x82, 0x81, 0x87, 0xA6, 30])
def test_the_uri_has_its_own_tag(tag: int) -> None:
    with pytest.raises(InvalidSvid):
        parse_svid([leaf(names=names(der.tlv(tag, WEB.encode())))])


IGNORED: Mapping[str, Callable[[], bytes]] = {
    "10 kB of names": lambda: leaf(names=names(uri(WEB), *MANY)),
    "10 kB of names before it": lambda: leaf(names=names(*MANY, uri(WEB))),
    "the server's DNS name": lambda: leaf(names=names(uri(WEB), der.tlv(DNS, b"server.sds.internal"))),
    "a common name": lambda: leaf(subject=name("spiffe://example.org/admin")),
    "a principal name": lambda: leaf(names=names(SPIFFE_UPN, uri(WEB))),
    "a path length without an authority": lambda: leaf(constraints=b""),
    "no purposes": lambda: leaf(purposes=b""),
    "more purposes": lambda: leaf(purposes=purposes("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.9")),
    "an unknown extension": lambda: leaf(der.extension(UNKNOWN, b"\x05\0")),
}


@pytest.mark.parametrize("make", IGNORED.values(), ids=IGNORED)
def test_what_says_nothing_of_an_identity_changes_none(make: Callable[[], bytes]) -> None:
    """What is read is the one URI, the serial, the times and the key; the server's name in a leaf makes no server."""
    svid, sound = parse_svid([make()]), parse_svid([leaf()])
    assert (svid.spiffe_id, svid.key_hash, svid.not_after) == (sound.spiffe_id, sound.key_hash, sound.not_after)


def test_a_certificate_is_bounded_by_its_octets() -> None:
    filler = der.extension(UNKNOWN, bytes(MAX_CERTIFICATE_BYTES))
    with pytest.raises(InvalidSvid, match="too long"):
        parse_svid([leaf(filler)])
    parse_svid([leaf(der.extension(UNKNOWN, bytes(MAX_CERTIFICATE_BYTES // 2)))])


def test_nothing_of_hostile_bytes_is_repeated() -> None:
    with pytest.raises(InvalidSvid) as caught:
        parse_svid([leaf(names=names(uri("spiffe://example.org/canary?x")))])
    assert "canary" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_every_altered_octet_is_refused_or_another_leaf() -> None:
    """Nothing but a leaf with one SPIFFE ID of this form ever comes out."""
    whole = leaf()
    for at in range(len(whole)):
        altered = bytearray(whole)
        altered[at] ^= 0x41
        try:
            svid = parse_svid([bytes(altered)])
        except InvalidSvid:
            continue
        assert svid.spiffe_id.path
        assert str(svid.spiffe_id).isascii()

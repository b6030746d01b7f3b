"""IP addresses and mailboxes as further names: one spelling each, nothing in disguise."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import InvalidSan
from attestation.extra_san import ExtraSan, SanKind


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("ip:10.0.0.1", "ip:10.0.0.1"),
        (" IP: 10.0.0.1 ", "ip:10.0.0.1"),
        ("ip:2001:DB8:0:0:0:0:0:1", "ip:2001:db8::1"),
        ("ip:::1", "ip:::1"),
        ("ip:255.255.255.255", "ip:255.255.255.255"),
        ("email:ops@Example.ORG", "email:ops@example.org"),
        ("Email:Ops.Team+x@example.org.", "email:Ops.Team+x@example.org"),  # the local part's case is its host's affair
        ("email:a@localhost", "email:a@localhost"),
        ("email:" + "l" * 64 + "@example.org", "email:" + "l" * 64 + "@example.org"),
    ],
)
def test_each_has_one_spelling(text: str, spelling: str) -> None:
    name = ExtraSan.parse(text)
    assert str(name) == spelling
    assert ExtraSan.parse(str(name)) == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "neither"),
        ("10.0.0.1", "neither"),
        ("ip", "neither"),
        ("rid:1.2.3", "neither"),
        ("dns:a.example.org", "DNS name"),
        ("uri:spiffe://example.org/a", "URI"),
        ("spiffe://example.org/a", "URI"),
        ("URI:https://example.org", "URI"),
        *[
            (f"ip:{bad}", "not an IP address")
            for bad in ("", "10.0.0", "010.0.0.1", "10.0.0.0/8", "0x7f.1", "1", "::g")
        ],
        ("ip:" + "1" * 1_000_000, "not an IP address"),
        ("ip:10.0.0.1\0", "not an IP address"),
        ("ip:\uff11\uff10.0.0.1", "not an IP address"),
        ("ip:fe80::1%eth0", "zone"),
        ("ip:::ffff:10.0.0.1", "write it as IPv4"),
        *[(f"ip:{bad}", "names no host") for bad in ("0.0.0.0", "::", "224.0.0.1", "ff02::1")],
        *[(f"email:{bad}", "not a mailbox") for bad in ("", "a", "@a.b", "x" * 65 + "@a.b", "a@" + "b" * 260)],
        *[(f"email:{bad}@a.b", "plain mailbox") for bad in ("a b", '"a"', ".a", "a.", "a..b", "a\0", "\u00e4", "a@b")],
        *[(f"email:a@{bad}", "domain that") for bad in ("", "a..b", "\u00e4.org", "1.2.3.4", "[::1]", "*.b", "a_b")],
        *[(f"email:a@{bad}", "reserved") for bad in ("sds.internal", "x.SDS.internal.", "\uff53ds.internal")],
    ],
)
def test_what_is_none_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidSan, match=reason) as caught:
        ExtraSan.parse(text)
    assert len(str(caught.value)) < 200


@given(st.ip_addresses())
def test_any_address_is_read_as_itself_or_refused(address: object) -> None:
    try:
        name = ExtraSan.parse(f"ip:{address}")
    except InvalidSan:
        return
    assert name.kind is SanKind.IP
    assert name.address == address == ip_address(name.value)


@given(st.text(max_size=80))
def test_any_mailbox_is_plain_ascii_or_refused(text: str) -> None:
    try:
        name = ExtraSan.parse(f"email:{text}")
    except InvalidSan:
        return
    assert name.value.isascii()
    assert name.value.isprintable()
    assert name.value.count("@") == 1
    assert not name.domain.endswith("sds.internal")

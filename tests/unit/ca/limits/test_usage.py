"""Purposes and addresses: only what an X.509-SVID may have, and what a client can follow."""

from __future__ import annotations

import pytest

from ca.limits.usage import CLIENT_AUTH, PURPOSES, SERVER_AUTH, Addresses, Usage, address_problem, purpose_problem


def test_purposes() -> None:
    assert Usage().all_purposes == (SERVER_AUTH, CLIENT_AUTH)
    assert Usage(purposes=("1.2.3",)).all_purposes == (SERVER_AUTH, CLIENT_AUTH, "1.2.3")
    assert all(purpose_problem(oid) == "" for oid in PURPOSES.values())


@pytest.mark.parametrize(
    "oid",
    [
        *["2.5.29.37.0", "1.3.6.1.5.5.7.3.9", "1.3.6.1.5.5.7.3.8", "1.3.6.1.4.1.11129.2.4.4"],  # any, OCSP, time, CT
        *["", "1", "3.1", "1.40", "1.2.", ".1.2", "1.02", "1.2.3.x", "1.2." + "9" * 11, "server_auth", "1." * 40],
    ],
)
def test_purposes_that_no_workload_may_have(oid: str) -> None:
    assert purpose_problem(oid)
    with pytest.raises(ValueError, match=r"."):
        Usage(purposes=(oid,))


def test_a_purpose_twice_is_refused() -> None:
    for twice in ((SERVER_AUTH,), ("1.2.3", "1.2.3")):
        with pytest.raises(ValueError, match="twice"):
            Usage(purposes=twice)


@pytest.mark.parametrize(
    "url",
    [
        *["http://a", "https://a.example:8443/crl/{authority}.crl", "http://[::1]/x", "http://a/?id={authority}"],
        "http://a/%20",
    ],
)
def test_addresses(url: str) -> None:
    assert address_problem(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        *[
            "",
            "a",
            "ldap://a",
            "file:///a",
            "javascript:x",
            "//a",
            "http://",
            "http:///x",
            "http://a b",
            "http://\u00e4",
        ],
        *["http://u@a", "http://u:p@a", "http://a/#x", "http://a/#", "http://a:99999", "http://a/\0", "http://a/\n"],
        *["http://{authority}.a/", "http://a/{other}", "http://a/{", "http://a/" + "x" * 1024, "http://[::1"],
    ],
)
def test_addresses_that_nobody_can_follow(url: str) -> None:
    assert address_problem(url)
    with pytest.raises(ValueError, match=r"."):
        Addresses(crl=(url,))


def test_addresses_are_bounded_and_unique() -> None:
    for bad in (tuple(f"http://{n}" for n in range(5)), ("http://a", "http://a")):
        with pytest.raises(ValueError, match="more than 4"):
            Addresses(ocsp=bad)


def test_the_authority_is_put_in_its_place() -> None:
    made = Addresses(("http://a/{authority}.crl",), ("http://o",), ("http://a/{authority}/{authority}",)).of("0a0b")
    assert made == Addresses(("http://a/0a0b.crl",), ("http://o",), ("http://a/0a0b/0a0b",))

"""Patterns, networks and domains: what lies within them, and what only looks so."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.limits.names import Misfit, NameLimits, domain_problem, pattern_problem

LIMITS = NameLimits(
    dns=("api.example.net", ".example.org", "*.example.com"),
    max_dns=3,
    ip=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")),
    email=("example.org", ".example.net"),
)


@pytest.mark.parametrize(
    "name",
    [
        *["api.example.net", "API.example.net", "a.example.org", "a.b.c.example.org", "a.example.com"],
        *["*.example.org", "*.a.example.org", "*.example.com"],
    ],
)
def test_names_within(name: str) -> None:
    assert LIMITS.dns_misfit(name) == ""


@pytest.mark.parametrize(
    "name",
    [
        *["example.org", "example.com", "xexample.org", "a.b.example.com", "example.net", "a.api.example.net"],
        *["*.api.example.net", "*.example.net", "*.a.example.com", "*.org", "example.org.evil", "a.example.org.evil"],
    ],
)
def test_names_without(name: str) -> None:
    assert "not among" in LIMITS.dns_misfit(name)


def test_wildcards_can_be_forbidden() -> None:
    plain = NameLimits(wildcards=False)
    assert plain.dns_misfit("a.example.org") == ""
    assert "wildcard" in plain.dns_misfit("*.example.org")


@given(st.lists(st.sampled_from(["a", "b", "*", "example", "org", ""]), min_size=1, max_size=4))
def test_a_wildcard_fits_only_where_all_that_it_stands_for_would(labels: list[str]) -> None:
    base = ".".join(labels)
    if LIMITS.dns_misfit(f"*.{base}") == "":
        for label in ("a", "x", "example"):
            assert LIMITS.dns_misfit(f"{label}.{base}") == ""


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("ip:10.1.2.3", True),
        ("ip:11.0.0.1", False),
        ("ip:2001:db8::1", True),
        ("ip:2001:db9::1", False),
        ("ip:::ffff:10.1.2.3", False),
        ("email:a@example.org", True),
        ("email:a@mail.example.org", False),
        ("email:a@mail.example.net", True),
        ("email:a@example.net", False),
        ("email:a@example.org.evil", False),
        ("email:a@sds.internal", False),
        ("uri:spiffe://example.org/x", False),
        ("nonsense", False),
    ],
)
def test_further_names(text: str, fits: bool) -> None:
    assert [misfit.field for misfit in LIMITS.misfits((), (text,))] == ([] if fits else ["extra_sans"])


def test_nothing_further_is_allowed_unless_it_is_named() -> None:
    found = list(NameLimits().misfits((), ("ip:10.0.0.1", "email:a@b.c")))
    assert [misfit.field for misfit in found] == ["extra_sans"] * 2
    assert not list(NameLimits().misfits(("a.example.org", "*.b.example"), ()))


def test_every_misfit_is_told_by_its_number() -> None:
    found = list(LIMITS.misfits(("a.example.org", "x", "y", "z"), ("ip:10.0.0.1", "ip:8.8.8.8")))
    assert found == [
        Misfit("dns_names", "the profile allows at most 3"),
        *(
            Misfit("dns_names", f"name {number} is not among the DNS names that the profile allows")
            for number in (2, 3, 4)
        ),
        Misfit("extra_sans", "name 2 is in none of the networks that the profile allows"),
    ]


def test_further_names_are_bounded() -> None:
    many = tuple(f"ip:10.0.0.{n}" for n in range(1, 66))
    assert list(LIMITS.misfits((), many)) == [Misfit("extra_sans", "at most 64 are allowed")]


@pytest.mark.parametrize("pattern", ["*", "example.org", ".example.org", "*.example.org", "localhost", ".internal"])
def test_patterns(pattern: str) -> None:
    assert pattern_problem(pattern) == ""


@pytest.mark.parametrize(
    "pattern",
    [
        *[
            "",
            ".",
            "*.",
            "**",
            "*.*.org",
            "a.*.org",
            "*a.org",
            "Example.org",
            "example.org.",
            "a..b",
            "a b",
            "\u00e4.org",
        ],
        *["sds.internal", ".sds.internal", "*.sds.internal", "server.sds.internal", "*.server.sds.internal"],
        *["xn--sds-.internal", "10.0.0.1", "..example.org", "*..example.org"],
    ],
)
def test_what_is_no_pattern(pattern: str) -> None:
    assert pattern_problem(pattern)
    with pytest.raises(ValueError, match=r"."):
        NameLimits(dns=(pattern,))


@pytest.mark.parametrize("domain", ["*", "*.example.org", "", "a@b.c", "sds.internal", ".sds.internal"])
def test_what_is_no_domain_of_mailboxes(domain: str) -> None:
    assert domain_problem(domain)
    with pytest.raises(ValueError, match=r"."):
        NameLimits(email=(domain,))


def test_a_limit_beyond_a_certificates_is_refused() -> None:
    for bad in (-1, 65):
        with pytest.raises(ValueError, match="at most 64"):
            NameLimits(max_dns=bad)

"""Which URLs a bundle endpoint may have (SPIFFE Federation 5.2.1.1, 5.2.2.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sds.server.federation.endpoint import check_url, redirected
from sds.server.federation.errors import InvalidEndpoint


@pytest.mark.parametrize(
    "url",
    [
        "https://host.example.com/trust_domain",
        "https://10.0.0.1:8446/",
        "https://[::1]:8446/bundle.json",
        "https://a",
        "https://a/b?c=d#e",
        "https://a/%41",
    ],
)
def test_valid(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://a/",
        "HTTP://a/",
        "ftp://a/",
        "file:///etc/passwd",
        "unix:///run/x",
        "https:",
        "https://",
        "https:///path",
        "https://:443/",
        "https://a:0/",
        "https://a:65536/",
        "https://a:b/",
        "https://user@a/",
        "https://user:password@a/",
        "https://@a/",
        "https://good.example@evil.example/",
        "https://good.example\\@evil.example/",
        "https://[::1/",
        "https://a/\r\nHost: b",
        "https://a/ b",
        "https://a/\x00",
        "https://ä.example/",
        "https://a/" + "b" * 2048,
        "spiffe://a/b",
    ],
)
def test_invalid(url: str) -> None:
    with pytest.raises(InvalidEndpoint):
        check_url(url)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/other", "https://a:1/other"),
        ("other", "https://a:1/x/other"),
        ("//b/c", "https://b/c"),
        ("https://b:2/c", "https://b:2/c"),
        ("?q", "https://a:1/x/y?q"),
    ],
)
def test_redirects_are_relative_to_where_they_came_from(location: str, target: str) -> None:
    assert redirected("https://a:1/x/y", location) == target


@pytest.mark.parametrize("location", ["http://a:1/x", "https://u@b/", "https://b/\r\n", "javascript:x", "https://[/"])
def test_a_redirect_to_no_endpoints_url_is_refused(location: str) -> None:
    with pytest.raises(InvalidEndpoint):
        redirected("https://a:1/x/y", location)


@given(st.text(max_size=80))
def test_whatever_is_accepted_is_https_without_credentials(text: str) -> None:
    for url in (text, f"https://{text}", f"https://a/{text}"):
        try:
            accepted = check_url(url)
        except InvalidEndpoint:
            continue
        assert accepted.lower().startswith("https://")
        assert "@" not in accepted[8:].partition("/")[0]
        assert accepted.isascii()
        assert accepted.isprintable()

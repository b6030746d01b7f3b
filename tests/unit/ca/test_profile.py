from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.errors import IssuanceRefused
from ca.profile import (
    MAX_DNS_NAMES,
    SERVER_DNS,
    IssuancePolicy,
    Profile,
    ProfileName,
    check_dns_names,
    check_identity,
    default_profiles,
)

TD = TrustDomain("example.org")
W, A, S = ProfileName.WORKLOAD, ProfileName.AGENT, ProfileName.SERVER


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/web", {W, A}),
        ("/a/b/c", {W, A}),
        ("/sdsx", {W, A}),
        ("/SDS/server", {W, A}),  # paths are case-sensitive (SPIFFE-ID 2.2)
        ("/web/sds/server", {W, A}),
        ("/sds", {A}),
        ("/sds/agent/join_token/0a", {A}),
        ("/sds/servers", {A}),
        ("/sds/server", {S}),
        ("/sds/server/web", set()),
        ("", set()),
    ],
)
def test_who_may_have_which_path(path: str, allowed: set[ProfileName]) -> None:
    for profile in ProfileName:
        if profile in allowed:
            check_identity(profile, TD, SpiffeId(TD, path))
        else:
            with pytest.raises(IssuanceRefused):
                check_identity(profile, TD, SpiffeId(TD, path))


@pytest.mark.parametrize("profile", ProfileName)
@pytest.mark.parametrize("other", ["example.com", "sub.example.org", "example.org.evil"])
def test_nobody_gets_an_identity_of_another_trust_domain(profile: ProfileName, other: str) -> None:
    with pytest.raises(IssuanceRefused, match="outside the trust domain"):
        check_identity(profile, TD, SpiffeId(TrustDomain(other), "/sds/server" if profile is S else "/web"))


@pytest.mark.parametrize(
    "name",
    [
        *["a", "web.example.org", "*.example.org", "WEB.Example.ORG", "1.2.3.4", "x-1.y", "xn--nxasmq6b.a", "a" * 63],
        *["sds.internal.example.org", "xsds.internal", "sds-internal", "internal"],
    ],
)
def test_ordinary_dns_names(name: str) -> None:
    check_dns_names((name,))
    with pytest.raises(IssuanceRefused):
        check_dns_names((name, f"{name}."))


@pytest.mark.parametrize(
    "name",
    ["sds.internal", "server.sds.internal", "SERVER.SDS.INTERNAL", "a.b.sds.internal", "*.sds.internal"],
)
def test_the_servers_name_is_refused(name: str) -> None:
    with pytest.raises(IssuanceRefused, match="belong to the server"):
        check_dns_names((name,))


@pytest.mark.parametrize(
    "name",
    [
        # the server's name in disguise: trailing dots, the ideographic dot, letters that fold to ASCII, NUL
        *["server.sds.internal.", "server.sds.internal..", "server\u3002sds\u3002internal"],
        *["\uff53erver.sds.internal", "\u017ferver.sds.internal", "server.sds.\u0131nternal"],
        *["server.sds.internal\0.example.org", "server.sds.internal\n", " server.sds.internal"],
        *["server.%73ds.internal", "", ".", "a..b", "-a", "a-", "a_b", "a b", "*", "*.", "a.*.b", "*a.b", "**.b"],
        *["*.*.b", "\u00e4.example.org", "a" * 64, "a." * 126 + "ab", "spiffe://a/b", "a:1", "a/b", "a@b"],
    ],
)
def test_other_dns_names_are_refused(name: str) -> None:
    with pytest.raises(IssuanceRefused):
        check_dns_names((name,))


def test_dns_names_are_bounded_and_unique() -> None:
    check_dns_names(tuple(f"a{n}" for n in range(MAX_DNS_NAMES)))
    with pytest.raises(IssuanceRefused, match="at most 64"):
        check_dns_names(tuple(f"a{n}" for n in range(MAX_DNS_NAMES + 1)))
    with pytest.raises(IssuanceRefused, match="twice"):
        check_dns_names(("a.b", "A.b"))


@given(st.text(max_size=80))
def test_whatever_passes_is_ascii_and_not_the_servers(name: str) -> None:
    try:
        check_dns_names((name,))
    except IssuanceRefused:
        return
    assert name.isascii()
    assert not name.lower().rstrip(".").endswith("sds.internal") or name.lower().endswith(
        ("xsds.internal", "-sds.internal")
    )


def test_only_the_server_profile_carries_the_servers_name() -> None:
    for name, profile in default_profiles().items():
        assert (SERVER_DNS in profile.dns_names(())) == (name == S)
    assert Profile(S).dns_names(("host.example.org",)) == (SERVER_DNS, "host.example.org")
    with pytest.raises(IssuanceRefused):
        Profile(S).dns_names((SERVER_DNS,))


def test_lifetimes_default_are_cut_and_have_a_floor() -> None:
    profile = Profile(W, timedelta(hours=1), timedelta(seconds=10), timedelta(days=1))
    assert profile.lifetime(None) == timedelta(hours=1)
    assert profile.lifetime(timedelta(minutes=5)) == timedelta(minutes=5)
    assert profile.lifetime(timedelta(days=365)) == timedelta(days=1)
    for short in (9, 0, -1):
        with pytest.raises(IssuanceRefused, match="below the workload minimum of 10s"):
            profile.lifetime(timedelta(seconds=short))


def test_limits_that_make_no_sense_are_refused() -> None:
    for shortest, default, longest in ((0, 1, 2), (5, 4, 6), (1, 7, 6), (9, 9, 8)):
        with pytest.raises(ValueError, match="minimum <= default <= maximum"):
            Profile(W, timedelta(seconds=default), timedelta(seconds=shortest), timedelta(seconds=longest))
    with pytest.raises(ValueError, match="negative"):
        IssuancePolicy(backdate=timedelta(seconds=-1))


def test_every_profile_has_a_default() -> None:
    assert set(default_profiles()) == set(map(str, ProfileName))

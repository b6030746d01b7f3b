from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.entry import EntrySpec
from attestation.errors import InvalidEntry
from attestation.rules import check_agent_id, diff, normalise, reserved_dns, validate
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId, TrustDomain

TD = TrustDomain("example.org")
GOOD = EntrySpec(
    SpiffeId(TD, "/web"),
    SpiffeId(TD, "/sds/agent/join_token/ab"),
    frozenset({Selector("unix", "uid:1000")}),
    x509_svid_ttl=timedelta(hours=1),
    dns_names=("web.example.org", "*.web.example.org", "xn--bcher-kva.example", "localhost"),
    hint="default",
    owner="team-web@example.org",
    labels={"app": "web", "example.org/tier": "1"},
    expires_at=datetime(2030, 1, 1, tzinfo=UTC),
    jwt_svid_ttl=timedelta(minutes=5),
    federates_with=(TrustDomain("partner.example"),),
    profile="gateway",
    extra_sans=("ip:10.0.0.1", "email:ops@example.org"),
    subject="CN=web.example.org",
)


def fields(**changes: Any) -> list[str]:
    problems = validate(replace(GOOD, **changes), TD)
    assert all(isinstance(p, InvalidEntry) and len(str(p)) < 300 for p in problems)
    return [p.field for p in problems]


def test_good() -> None:
    assert validate(GOOD, TD) == []
    assert fields(x509_svid_ttl=None, dns_names=(), hint="", owner="", labels={}, expires_at=None) == []


@pytest.mark.parametrize(
    "path", ["", "/sds", "/sds/server", "/sds/agent/x", "/sds/anything", "/SDS/server", "/Sds", "/sDs/a/b"]
)
def test_no_entry_names_a_server_or_an_agent_or_a_trust_domain(path: str) -> None:
    assert fields(spiffe_id=SpiffeId(TD, path)) == ["spiffe_id"]


@pytest.mark.parametrize("path", ["/sdsx", "/a/sds", "/sds-team/x", "/x"])
def test_paths_that_only_look_alike(path: str) -> None:
    assert fields(spiffe_id=SpiffeId(TD, path)) == []


def test_foreign_trust_domains() -> None:
    foreign = SpiffeId(TrustDomain("example.org.evil"), "/x")
    assert fields(spiffe_id=foreign, parent_id=foreign) == ["spiffe_id", "parent_id", "parent_id"]


@pytest.mark.parametrize(
    "path", ["", "/sds", "/sds/server", "/sds/agent", "/sds/agents/x", "/SDS/agent/x", "/sds/Agent/x"]
)
def test_parents_are_agents(path: str) -> None:
    assert fields(parent_id=SpiffeId(TD, path)) == ["parent_id"]
    with pytest.raises(InvalidEntry):
        check_agent_id(SpiffeId(TD, path), TD)


def test_agents_may_have_names_of_their_own() -> None:
    check_agent_id(SpiffeId(TD, "/nodes/7"), TD)
    check_agent_id(SpiffeId(TD, "/sds/agent/x"), TD)
    assert fields(parent_id=GOOD.spiffe_id) == ["parent_id"]


def test_selectors() -> None:
    assert fields(selectors=frozenset()) == ["selectors"]
    assert fields(selectors=frozenset(Selector("t", str(i)) for i in range(64))) == []
    assert fields(selectors=frozenset(Selector("t", str(i)) for i in range(65))) == ["selectors"]


@pytest.mark.parametrize("seconds", [-1, 0, 4.999, 365 * 86400 + 1])
def test_lifetimes_out_of_bounds(seconds: float) -> None:
    assert fields(x509_svid_ttl=timedelta(seconds=seconds)) == ["x509_ttl"]


def test_lifetimes_within_bounds() -> None:
    assert fields(x509_svid_ttl=timedelta(seconds=5)) == fields(x509_svid_ttl=timedelta(days=365)) == []


def test_expiry_needs_a_time_zone() -> None:
    assert fields(expires_at=datetime(2030, 1, 1)) == ["expires_at"]  # noqa: DTZ001  the mistake that is tested


RESERVED_SPELLINGS = [
    "sds.internal",
    "server.sds.internal",
    "a.b.sds.internal",
    "SDS.Internal",
    "Server.SDS.INTERNAL",
    "sds.internal.",
    "server.sds.internal.",
    "sds.internal..",
    "*.sds.internal",
    "*.SDS.internal.",
    "*.server.sds.internal",
    "*.internal",
    "*.INTERNAL.",
    "*",
    "sds\u3002internal",
    "server\uff0esds\uff61internal",
    "\uff53\uff44\uff53.internal",
    "\u017fds.internal",
    "xn--sds-.internal",
    "server.XN--sds-.internal",
    "\u24e2\u24d3\u24e2.internal",
    "sds.xn--internal-",
    "sds\u2024internal",
]


@pytest.mark.parametrize("name", RESERVED_SPELLINGS)
def test_the_servers_name_is_refused_in_every_disguise(name: str) -> None:
    assert reserved_dns(name)
    assert fields(dns_names=(name,)) == ["dns_names"]
    (problem,) = validate(replace(GOOD, dns_names=("ok.example.org", name)), TD)
    assert "name 2" in str(problem)
    assert "reserved" in str(problem)


@pytest.mark.parametrize("name", ["xsds.internal", "sds.internal.example.org", "internal", "a.internal", "sds.intern"])
def test_names_that_only_look_reserved(name: str) -> None:
    assert fields(dns_names=(name,)) == []


@given(
    st.lists(st.sampled_from(["sds", "SDS", "server", "internal", "Internal", "*", "", "x"]), min_size=1, max_size=5)
)
def test_nothing_valid_normalises_to_the_servers_name(labels: list[str]) -> None:
    spec = replace(GOOD, dns_names=(".".join(labels),))
    if validate(spec, TD):
        return
    (name,) = normalise(spec).dns_names
    assert name != "sds.internal"
    assert not name.endswith(".sds.internal")
    assert name not in {"*", "*.internal"}


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a..",
        "-a.b",
        "a-.b",
        "a_b.c",
        "a b.c",
        "a/b",
        "a.b\n",
        "a\0.b",
        "b\u00fccher.example",
        "*.",
        "**.a",
        "*a.b",
        "a*.b",
        "a.*.b",
        "*.*.b",
        "a.*",
        "xn--.example",
        "xn--abc-.example",
        "xn--a\u00e4.example",
        "xn--99999999999.example",
        "10.0.0.1",
        "1",
        "a.1",
        "[::1]",
        "::1",
        "spiffe://example.org/x",
        "x" * 64 + ".a",
        ".".join(["x" * 63] * 4),
        "x" * 10_000_000,
        "\U0001f600.example",
    ],
)
def test_malformed_dns_names(name: str) -> None:
    assert fields(dns_names=(name,)) == ["dns_names"]


def test_dns_bounds() -> None:
    longest = ".".join(["x" * 63] * 3 + ["y" * 61])
    assert len(longest) == 253
    assert fields(dns_names=(longest, longest + ".")) == []
    assert fields(dns_names=tuple(f"h{i}.example" for i in range(64))) == []
    assert fields(dns_names=tuple(f"h{i}.example" for i in range(65))) == ["dns_names"]


@given(st.text(max_size=50))
def test_any_dns_name_is_judged(name: str) -> None:
    if not fields(dns_names=(name,)):
        assert name.isascii()
        assert normalise(replace(GOOD, dns_names=(name,))).dns_names[0].islower() or not any(c.isalpha() for c in name)


def test_texts_and_labels() -> None:
    assert fields(hint="x" * 256, owner="a\nb") == ["hint", "owner"]
    assert fields(hint="\x00", owner="\u202e") == ["hint", "owner"]
    assert (
        fields(labels={"": "x", "a b": "x", "-a": "x", "x" * 64: "x", "ok": "y\n", "fine": "z" * 256}) == ["labels"] * 6
    )
    assert fields(labels={f"k{i}": "" for i in range(65)}) == ["labels"]


@pytest.mark.parametrize("seconds", [-1, 0, 4.999, 86401])
def test_lifetimes_of_tokens_out_of_bounds(seconds: float) -> None:
    assert fields(jwt_svid_ttl=timedelta(seconds=seconds)) == ["jwt_ttl"]


def test_federation_is_with_others() -> None:
    assert fields(federates_with=(TD,)) == ["federates_with"]
    assert fields(federates_with=tuple(TrustDomain(f"td{n}") for n in range(64))) == []
    assert fields(federates_with=tuple(TrustDomain(f"td{n}") for n in range(65))) == ["federates_with"]


@pytest.mark.parametrize("name", ["", "workload", "gateway", "a", "a1", "a-b_c", "x" * 40])
def test_names_of_profiles(name: str) -> None:
    assert fields(profile=name) == []


@pytest.mark.parametrize(
    "name", ["agent", "server", "A", "1a", "a b", "a--b", "a__b", "a-", "-a", "a.b", "x" * 41, "a\n", "\u00e4", "a\0"]
)
def test_what_is_no_profile_for_a_workload(name: str) -> None:
    assert fields(profile=name) == ["profile"]


def test_each_extra_name_is_told() -> None:
    (problem,) = validate(replace(GOOD, extra_sans=("ip:10.0.0.1", "uri:spiffe://example.org/x")), TD)
    assert str(problem) == "extra_sans: name 2 is a URI; an X.509-SVID has one, the SPIFFE ID"
    assert fields(extra_sans=("x", "email:a@sds.internal", "ip:")) == ["extra_sans"] * 3
    assert fields(extra_sans=tuple(f"ip:10.0.0.{n}" for n in range(1, 65))) == []
    assert fields(extra_sans=tuple(f"ip:10.0.0.{n}" for n in range(1, 66))) == ["extra_sans"]


def test_a_subject_is_read() -> None:
    assert fields(subject="CN=server.sds.internal") == ["subject"]
    assert fields(subject="web") == ["subject"]


def test_all_problems_at_once() -> None:
    broken = EntrySpec(
        SpiffeId(TD, "/sds/x"),
        SpiffeId(TrustDomain("other"), "/x"),
        frozenset(),
        x509_svid_ttl=timedelta(0),
        dns_names=("", "sds.internal"),
        hint="\n",
        owner="\n",
        labels={"": ""},
        jwt_svid_ttl=timedelta(0),
        federates_with=(TD,),
        profile="server",
        extra_sans=("x",),
        subject="x",
    )
    found = [p.field for p in validate(broken, TD)]
    assert found == [
        "spiffe_id",
        "parent_id",
        "selectors",
        "x509_ttl",
        "jwt_ttl",
        "dns_names",
        "dns_names",
        "hint",
        "owner",
        "labels",
        "federates_with",
        "profile",
        "extra_sans",
        "subject",
    ]


def test_normalise() -> None:
    spec = replace(
        GOOD,
        dns_names=("Web.Example.ORG.", "web.example.org", "b.example"),
        hint=" x ",
        labels={"b": "2", "a": "1"},
        expires_at=datetime(2030, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
    )
    clean = normalise(spec)
    assert clean.dns_names == ("web.example.org", "b.example")
    assert (clean.hint, list(clean.labels)) == ("x", ["a", "b"])
    assert clean.expires_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert clean.expires_at.tzinfo is UTC
    assert normalise(clean) == clean
    spec = replace(
        GOOD,
        federates_with=(TrustDomain("b"), TrustDomain("a"), TrustDomain("b")),
        profile="workload",
        extra_sans=("IP: 10.0.0.1", "ip:10.0.0.1", "email:a@B.example"),
        subject=" cn = web, o=Example",
    )
    clean = normalise(spec)
    assert [domain.name for domain in clean.federates_with] == ["a", "b"]
    assert clean.profile == ""
    assert clean.extra_sans == ("ip:10.0.0.1", "email:a@b.example")
    assert clean.subject == "CN=web,O=Example"
    assert normalise(clean) == clean
    with pytest.raises(TypeError):
        clean.labels["c"] = "3"  # type: ignore[index]


def test_diff() -> None:
    assert diff(GOOD, GOOD) == {}
    new = replace(
        GOOD,
        x509_svid_ttl=None,
        selectors=GOOD.selectors | {Selector("unix", "gid:1")},
        labels={"app": "db"},
        expires_at=None,
    )
    found = diff(GOOD, new)
    assert found == {
        "x509_ttl": (3600, None),
        "selectors": (["unix:uid:1000"], ["unix:gid:1", "unix:uid:1000"]),
        "labels": ({"app": "web", "example.org/tier": "1"}, {"app": "db"}),
        "expires_at": ("2030-01-01T00:00:00+00:00", None),
    }
    json.dumps(found)
    assert diff(GOOD, replace(GOOD, x509_svid_ttl=timedelta(seconds=6.5))) == {"x509_ttl": (3600, 6.5)}

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.spiffe_id import SpiffeId, TrustDomain
from sds.delivery.secret_name import may_be_secret
from sds.secrets.ageing import generation_due, too_old
from sds.secrets.describe import as_json, diff, subject_json
from sds.secrets.grant import Below, Exactly, Labelled, Subject
from sds.secrets.rules import normalise, validate, validate_subject
from sds.secrets.secret import (
    DatabaseSource,
    EmbeddedSource,
    KvSource,
    PkiSource,
    RotationPolicy,
    Secret,
    SecretKind,
    SecretSpec,
    Source,
)
from tests.fakes.clock import EPOCH

TD = TrustDomain("example.org")
DAY = timedelta(days=1)
GOOD = SecretSpec("app/db.password", SecretKind.GENERIC, EmbeddedSource())
PKI = PkiSource("pki", "gateway", "gw.example.org", ("*.gw.example.org",), DAY)


def fields(spec: SecretSpec, *delivery_names: str) -> list[str]:
    return [problem.field for problem in validate(spec, delivery_names)]


def of(kind: SecretKind, source: Source, **changes: Any) -> SecretSpec:
    return replace(GOOD, kind=kind, source=source, **changes)


@pytest.mark.parametrize(
    "spec",
    [
        GOOD,
        replace(GOOD, name="0" + "x" * 127, owner="team ä", labels={"env": "prod"}, refresh=DAY),
        of(SecretKind.GENERIC, EmbeddedSource(), rotation=RotationPolicy(DAY, 32)),
        of(SecretKind.GENERIC, KvSource("kv", "a/b c/d=e", {"": "token"})),
        of(SecretKind.MAP, KvSource("team/kv", "a", {"user": "User Name", "pass": "p"})),
        of(SecretKind.MAP, KvSource("kv", "a")),
        of(SecretKind.CERTIFICATE, KvSource("kv", "a", {"chain": "crt", "private_key": "key"})),
        of(SecretKind.CA_BUNDLE, KvSource("kv", "a", {"ca": "pem"})),
        of(SecretKind.TICKETS, KvSource("kv", "a", {"1": "old", "0": "new"})),
        of(SecretKind.MAP, DatabaseSource("database", "readonly")),
        of(SecretKind.CERTIFICATE, PKI),
    ],
)
def test_what_may_be_stored(spec: SecretSpec) -> None:
    assert fields(spec) == []
    assert may_be_secret(spec.name)


@pytest.mark.parametrize(
    "name",
    [
        "", "x" * 129, "-a", ".a", "/a", "_a", "a b", "a\n", "ä", "a\0", "a?b", "a%2f", "a#",
        "spiffe://example.org/web", "file-cert:a~b", "sds://x", "kubernetes:x",
        "default", "ROOTCA", "ALL", "tickets", "rootca", "Default", "all", "Tickets",
        "a//b", "a/", "a/./b", "a/../b", "a/..",
        "my-cert",
    ],
)  # fmt: skip
def test_names_that_are_refused(name: str) -> None:
    assert fields(replace(GOOD, name=name), "my-cert", "my-ca") == ["name"]


@given(st.text(max_size=20))
def test_a_name_that_agents_would_not_ask_for_is_refused(name: str) -> None:
    """What the rules let pass, clients can get; whoever asks for anything else is not even heard."""
    if not fields(replace(GOOD, name=name)):
        assert may_be_secret(name)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (of(SecretKind.GENERIC, KvSource("sys", "a")), "source.mount"),
        (of(SecretKind.GENERIC, KvSource("auth/token", "a")), "source.mount"),
        (of(SecretKind.GENERIC, KvSource("SYS", "a")), "source.mount"),
        (of(SecretKind.GENERIC, KvSource("", "a")), "source.mount"),
        (of(SecretKind.GENERIC, KvSource("kv/", "a")), "source.mount"),
        (of(SecretKind.GENERIC, KvSource("kv", "")), "source.path"),
        (of(SecretKind.GENERIC, KvSource("kv", "a/../../sys/raw")), "source.path"),
        (of(SecretKind.GENERIC, KvSource("kv", "/a")), "source.path"),
        (of(SecretKind.GENERIC, KvSource("kv", "a//b")), "source.path"),
        (of(SecretKind.GENERIC, KvSource("kv", "a?version=1")), "source.path"),
        (of(SecretKind.GENERIC, KvSource("kv", "a%2fb")), "source.path"),
        (of(SecretKind.GENERIC, KvSource("kv", "a/ ")), "source.path"),
        (of(SecretKind.GENERIC, KvSource("kv", "ä")), "source.path"),
        (of(SecretKind.GENERIC, KvSource("kv", "x" * 513)), "source.path"),
        (of(SecretKind.GENERIC, KvSource("kv", "a", {"token": "token"})), "source.fields"),
        (of(SecretKind.GENERIC, KvSource("kv", "a", {"": ""})), "source.fields"),
        (of(SecretKind.GENERIC, KvSource("kv", "a", {"": "a\nb"})), "source.fields"),
        (of(SecretKind.MAP, KvSource("kv", "a", {"": "b"})), "source.fields"),
        (of(SecretKind.MAP, KvSource("kv", "a", {f"f{n}": "b" for n in range(65)})), "source.fields"),
        (of(SecretKind.CERTIFICATE, KvSource("kv", "a", {"chain": "b"})), "source.fields"),
        (of(SecretKind.TICKETS, KvSource("kv", "a", {"1": "b"})), "source.fields"),
        (of(SecretKind.GENERIC, DatabaseSource("database", "r")), "kind"),
        (of(SecretKind.MAP, DatabaseSource("database", "../r")), "source.role"),
        (of(SecretKind.MAP, DatabaseSource("database", "")), "source.role"),
        (of(SecretKind.GENERIC, PKI), "kind"),
        (of(SecretKind.CERTIFICATE, replace(PKI, common_name="gw .org")), "source.common_name"),
        (of(SecretKind.CERTIFICATE, replace(PKI, common_name="server.sds.internal")), "source.common_name"),
        (of(SecretKind.CERTIFICATE, replace(PKI, dns_names=("a.sds.internal",))), "source.dns_names"),
        (of(SecretKind.CERTIFICATE, replace(PKI, dns_names=("a.org",) * 65)), "source.dns_names"),
        (of(SecretKind.CERTIFICATE, replace(PKI, ttl=timedelta(seconds=59))), "source.ttl"),
        (replace(GOOD, owner="a\nb"), "owner"),
        (replace(GOOD, labels={"": "x"}), "labels"),
        (replace(GOOD, refresh=timedelta(milliseconds=999)), "refresh"),
        (replace(GOOD, refresh=2 * DAY), "refresh"),
        (replace(GOOD, rotation=RotationPolicy(timedelta(seconds=59))), "rotation.every"),
        (replace(GOOD, rotation=RotationPolicy(DAY, 15)), "rotation.generate"),
        (replace(GOOD, rotation=RotationPolicy(DAY, -1)), "rotation.generate"),
        (replace(GOOD, rotation=RotationPolicy(DAY, 1025)), "rotation.generate"),
        (of(SecretKind.GENERIC, KvSource("kv", "a"), rotation=RotationPolicy(DAY, 32)), "rotation.generate"),
        (of(SecretKind.MAP, EmbeddedSource(), rotation=RotationPolicy(DAY, 32)), "rotation.generate"),
    ],
)
def test_what_is_refused(spec: SecretSpec, field: str) -> None:
    assert fields(spec) == [field]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    spec = SecretSpec("", SecretKind.GENERIC, DatabaseSource("", ""), "\n", {"": ""}, DAY * 2, RotationPolicy(DAY, 1))
    assert sorted(set(fields(spec))) == [
        "kind", "labels", "name", "owner", "refresh", "rotation.generate", "source.mount", "source.role",
    ]  # fmt: skip


def test_one_spelling() -> None:
    pki = replace(PKI, dns_names=("GW.example.org.", "gw.example.org"))
    found = normalise(of(SecretKind.CERTIFICATE, pki, owner=" me ", labels={"b": "1", "a": "2"}))
    assert isinstance(found.source, PkiSource)
    assert found.source.dns_names == ("gw.example.org",)
    assert (found.owner, list(found.labels)) == ("me", ["a", "b"])
    assert normalise(found) == found


@pytest.mark.parametrize(
    "subject",
    [
        Exactly(SpiffeId.parse("spiffe://example.org/web")),
        Below(SpiffeId.parse("spiffe://example.org")),
        Below(SpiffeId.parse("spiffe://example.org/sdsx")),
        Labelled({"env": "prod"}),
    ],
)
def test_who_may_be_granted(subject: Subject) -> None:
    assert validate_subject(subject, TD) == []


@pytest.mark.parametrize(
    ("subject", "field"),
    [
        (Exactly(SpiffeId.parse("spiffe://other.org/web")), "spiffe_id"),
        (Exactly(SpiffeId.parse("spiffe://example.org/sds/server")), "spiffe_id"),
        (Below(SpiffeId.parse("spiffe://other.org")), "spiffe_id_prefix"),
        (Below(SpiffeId.parse("spiffe://example.org/sds")), "spiffe_id_prefix"),
        (Labelled({}), "labels"),
        (Labelled({"a b": "x"}), "labels"),
        (Labelled({f"k{n}": "x" * 250 for n in range(10)}), "labels"),
    ],
)
def test_who_may_not(subject: Subject, field: str) -> None:
    assert [problem.field for problem in validate_subject(subject, TD)] == [field]


def test_differences_are_told_by_field() -> None:
    moved = of(SecretKind.GENERIC, KvSource("kv", "a", {"": "t"}), refresh=timedelta(seconds=5))
    assert diff(GOOD, GOOD) == {}
    assert diff(GOOD, moved) == {
        "source": ({"backend": "embedded"}, {"backend": "kv", "mount": "kv", "path": "a", "fields": {"": "t"}}),
        "refresh": (None, 5),
    }
    assert as_json(of(SecretKind.CERTIFICATE, PKI))["source"] == {
        "backend": "pki", "mount": "pki", "role": "gateway", "common_name": "gw.example.org",
        "dns_names": ["*.gw.example.org"], "ttl": 86400,
    }  # fmt: skip
    assert subject_json(Labelled({"b": "1", "a": "2"})) == {"labels": {"a": "2", "b": "1"}}
    assert subject_json(Below(TD.id)) == {"spiffe_id_prefix": "spiffe://example.org"}


def stored(spec: SecretSpec, pinned: int | None = None) -> Secret:
    return Secret("s1", 1, EPOCH, EPOCH, spec, pinned)


def test_age() -> None:
    aged = stored(replace(GOOD, rotation=RotationPolicy(DAY)))
    assert too_old(aged, EPOCH - DAY, EPOCH)
    assert not too_old(aged, EPOCH - DAY + timedelta(seconds=1), EPOCH)
    assert not too_old(aged, None, EPOCH)
    assert not too_old(stored(GOOD), EPOCH - 9999 * DAY, EPOCH)


def test_when_a_random_value_is_due() -> None:
    made = stored(replace(GOOD, rotation=RotationPolicy(DAY, 32)))
    assert generation_due(made, None, EPOCH)
    assert generation_due(made, EPOCH - DAY, EPOCH)
    assert not generation_due(made, EPOCH, EPOCH)
    assert not generation_due(replace(made, pinned=1), EPOCH - DAY, EPOCH)
    once = stored(replace(GOOD, rotation=RotationPolicy(None, 32)))
    assert generation_due(once, None, EPOCH)
    assert not generation_due(once, EPOCH - 9999 * DAY, EPOCH)
    assert not generation_due(stored(replace(GOOD, rotation=RotationPolicy(DAY))), EPOCH - DAY, EPOCH)
    moved = of(SecretKind.GENERIC, KvSource("kv", "a"), rotation=RotationPolicy(DAY, 32))
    assert not generation_due(stored(moved), None, EPOCH)

"""sds federation, and sds bundle for other trust domains, over a fake server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle, make_bundle, parse_pem, parse_spiffe_json
from tests.fakes.admin_federations import FakeFederations
from tests.fakes.admin_server import Running
from tests.fakes.ca import make_authority
from tests.unit.cli.conftest import Sds

OTHER = TrustDomain("other.example")
WEB = ("--profile", "https_web", "--endpoint-url", "https://other.example/bundle")
BUNDLE = make_bundle(OTHER, [make_authority(OTHER).authority.certificate], 7)


@pytest.fixture
def federations(running: Running) -> FakeFederations:
    return running.fakes.federations


@pytest.fixture
def document(tmp_path: Path) -> Path:
    file = tmp_path / "other.json"
    file.write_bytes(BUNDLE.spiffe_json())
    return file


def add(sds: Sds, federations: FakeFederations, answer: TrustBundle | str = BUNDLE) -> None:
    federations.answers[OTHER] = answer
    sds("federation", "add", "other.example", *WEB)


def test_add_fetches_at_once_and_shows_what_came(sds: Sds, federations: FakeFederations) -> None:
    federations.answers[OTHER] = BUNDLE
    shown = sds("federation", "add", "spiffe://other.example", *WEB).stdout
    assert "sequence 7, 1 X.509 authority, 0 JWT authorities" in shown
    again = sds.json("federation", "add", "other.example", *WEB)
    assert (again["trust_domain"], again["sequence"], again["problem"]) == ("other.example", 7, "")


def test_add_succeeds_and_says_so_if_the_first_fetch_fails(sds: Sds) -> None:
    result = sds("federation", "add", "other.example", *WEB)
    assert "The first fetch failed: cannot connect: nobody there." in result.stderr
    assert "none yet" in result.stdout


def test_add_with_a_bundle_to_start_from(sds: Sds, federations: FakeFederations, document: Path) -> None:
    spiffe = ("--profile", "https_spiffe", "--endpoint-url", "https://10.0.0.1/", "--endpoint-id")
    sds("federation", "add", "other.example", *spiffe, "spiffe://other.example/sds/server", "--bundle", str(document))
    record = federations.rows[OTHER]
    assert str(record.source.endpoint_id) == "spiffe://other.example/sds/server"
    assert record.bundle == BUNDLE


def test_a_static_one_is_not_refreshed(sds: Sds, federations: FakeFederations, document: Path) -> None:
    sds("federation", "add", "other.example", "--profile", "static", "--bundle", "-", stdin=document.read_text())
    assert federations.rows[OTHER].tried_at is None
    result = sds("federation", "refresh", "other.example", code=1)
    assert "is static" in result.stderr


def test_another_endpoint_is_an_update(sds: Sds, federations: FakeFederations) -> None:
    add(sds, federations)
    moved = ("--profile", "https_web", "--endpoint-url", "https://moved.example/")
    assert "update that" in sds("federation", "add", "other.example", *moved, code=4).stderr
    assert "https://moved.example/" in sds("federation", "update", "other.example", *moved).stdout
    assert federations.rows[OTHER].bundle == BUNDLE


def test_list(sds: Sds, federations: FakeFederations) -> None:
    assert "sds federation add" in sds("federation", "list").stderr
    add(sds, federations)
    federations.entries[OTHER] = 2
    (line,) = sds("federation", "list").stdout.splitlines()[1:]
    assert line.split()[:4] == ["other.example", "https_web", "7", "1+0"]
    assert [each["entries"] for each in sds.json("federation", "list")["federations"]] == [2]


def test_refresh_that_fails_keeps_the_bundle_and_exits_with_1(sds: Sds, federations: FakeFederations) -> None:
    add(sds, federations)
    federations.answers[OTHER] = "the endpoint answered with sequence 3, older than 7, the last"
    result = sds("federation", "refresh", "other.example", code=1)
    assert "sequence 7" in result.stdout
    assert "older than 7" in result.stderr
    failed = sds("federation", "refresh", "other.example", "--output", "json", code=1)
    assert json.loads(failed.stdout)["sequence"] == 7
    assert json.loads(failed.stderr)["exit_code"] == 1


def test_delete_says_who_still_names_it(sds: Sds, federations: FakeFederations) -> None:
    add(sds, federations)
    federations.entries[OTHER] = 1
    shown = sds("federation", "delete", "other.example").stdout
    assert "No workload trusts other.example any more." in shown
    assert "1 entry still name" in shown
    sds("federation", "show", "other.example", code=3)


def test_a_dry_run_of_a_deletion_ends_nothing(sds: Sds, federations: FakeFederations) -> None:
    add(sds, federations)
    (name,) = [each["trust_domain"] for each in sds.json("federation", "list")["federations"]]
    assert "This was a dry run: nothing was changed." in sds("federation", "delete", name, "--dry-run").stdout
    assert sds.json("federation", "delete", name, "--dry-run")["dry_run"] is True
    assert len(sds.json("federation", "list")["federations"]) == 1


def test_the_bundle_of_another_trust_domain(sds: Sds, federations: FakeFederations) -> None:
    add(sds, federations)
    pem = sds("bundle", "show", "--trust-domain", "other.example").stdout
    assert parse_pem(OTHER, pem.encode()).x509_authorities == BUNDLE.x509_authorities
    spiffe = sds("bundle", "show", "--trust-domain", "other.example", "--format", "spiffe").stdout
    assert parse_spiffe_json(OTHER, spiffe.encode()) == BUNDLE
    assert sds("bundle", "show", "--trust-domain", "nobody.example", code=3)


def test_set_replaces_it(sds: Sds, federations: FakeFederations, document: Path) -> None:
    add(sds, federations, make_bundle(OTHER, [], 9))
    assert "sequence 7" in sds("bundle", "set", "other.example", str(document)).stdout
    assert federations.rows[OTHER].bundle == BUNDLE
    assert "bundle" in sds("bundle", "set", "other.example", "-", stdin="no bundle", code=1).stderr
    sds("bundle", "set", "nobody.example", str(document), code=3)


@pytest.mark.parametrize("name", ["", "Upper.example", "a b", "../x", "a/b", "ä"])
def test_what_is_no_trust_domain(sds: Sds, name: str) -> None:
    assert sds("federation", "add", name, *WEB, code=1).stderr
    assert sds("federation", "show", name or "x..y/", code=1).stderr


def test_a_bundle_that_is_no_text(sds: Sds, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"\xff\xfe")
    result = sds("federation", "add", "other.example", "--profile", "static", "--bundle", str(tmp_path / "b"), code=2)
    assert "neither PEM nor JSON" in result.stderr

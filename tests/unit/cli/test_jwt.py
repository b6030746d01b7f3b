"""sds jwt mint and verify: through the server, and offline from a bundle file."""

from __future__ import annotations

import json
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sds.clock import SystemClock
from tests.fakes.admin_server import Running
from tests.fakes.jwt import issue_jwt, jwt_bundle, make_jwt_authority
from tests.unit.cli.conftest import Sds

WEB = "spiffe://example.org/web"
MINT = ("jwt", "mint", "--spiffe-id", WEB, "--audience", "reports")


@pytest.fixture
def minted(sds: Sds) -> Any:
    return sds.json(*MINT)


def test_mint_has_exactly_the_promised_keys(minted: Any) -> None:
    assert list(minted) == [
        "token", "token_id", "spiffe_id", "audience", "issued_at", "expires_at", "authority_id",
    ]  # fmt: skip
    assert minted["token"].count(".") == 2
    assert (minted["spiffe_id"], minted["audience"]) == (WEB, ["reports"])


def test_what_is_asked_arrives(sds: Sds, running: Running) -> None:
    sds.json(*MINT, "--audience", "b", "--ttl", "2m")
    order = running.fakes.jwt.orders[-1]
    assert (str(order.spiffe_id), order.audience, order.ttl) == (WEB, ("reports", "b"), timedelta(minutes=2))
    sds("jwt", "mint", "--entry", "e1", "--audience", "a", code=3)
    assert running.fakes.jwt.orders[-1].entry_id == "e1"


def test_the_table_shows_it_once(sds: Sds) -> None:
    text = sds(*MINT).stdout
    assert text.count("eyJ") == 2  # header and payload of one token
    assert text.splitlines()[1] == f"SPIFFE ID   {WEB}"


def test_into_a_file(sds: Sds, tmp_path: Path) -> None:
    path = tmp_path / "token"
    shown = sds.json(*MINT, "--token-file", str(path))
    assert shown["token_file"] == str(path)
    assert "token" not in shown
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = sds.json("jwt", "verify", "--token-file", str(path), "--audience", "reports")
    assert found["spiffe_id"] == WEB


@pytest.mark.parametrize(
    "arguments",
    [
        ("jwt", "mint", "--audience", "a"),
        ("jwt", "mint", "--audience", "a", "--entry", "e", "--spiffe-id", WEB),
        ("jwt", "mint", "--spiffe-id", WEB),
        (*MINT, "--ttl", "soon"),
        (*MINT, "--token-file", "/"),
        ("jwt", "verify", "--audience", "a"),
        ("jwt", "verify", "a.b.c"),
        ("jwt", "verify", "a.b.c", "--token-file", "x", "--audience", "a"),
        ("jwt", "verify", "a.b.c", "--audience", "a", "--bundle", "x"),
        ("jwt", "verify", "a.b.c", "--audience", "a", "--trust-domain", "example.org"),
        ("jwt", "verify", "--token-file", "/no/such/file", "--audience", "a"),
    ],
)
def test_bad_command_lines(sds: Sds, arguments: tuple[str, ...]) -> None:
    sds(*arguments, code=2)


def test_verify_by_the_server(sds: Sds, minted: Any) -> None:
    found = sds.json("jwt", "verify", minted["token"], "--audience", "reports")
    assert list(found) == ["spiffe_id", "audience", "expires_at", "key_id", "claims"]
    assert found["claims"]["jti"] == minted["token_id"]
    table = sds("jwt", "verify", "-", "--audience", "reports", stdin=minted["token"] + "\n").stdout
    assert f"SPIFFE ID   {WEB}" in table
    assert f"jti         {minted['token_id']}" in table


def test_what_is_not_believed_is_exit_code_1(sds: Sds, minted: Any) -> None:
    result = sds("jwt", "verify", minted["token"], "--audience", "other", code=1)
    assert "audience" in result.stderr
    assert "eyJ" not in result.stderr
    problem = json.loads(sds("jwt", "verify", "x", "--audience", "a", "-o", "json", code=1).stderr)
    assert (problem["type"], problem["exit_code"]) == ("urn:sds:problem:invalid-token", 1)


class Offline:
    """A bundle file and its authority; no server anywhere."""

    def __init__(self, folder: Path) -> None:
        self.now = SystemClock().now()
        self.authority = make_jwt_authority(now=self.now - timedelta(days=1))
        self.bundle = folder / "bundle.json"
        self.bundle.write_bytes(jwt_bundle(self.authority).spiffe_json())

    def token(self, **more: Any) -> str:
        return issue_jwt(self.authority, now=self.now, **more).token.reveal()


@pytest.fixture
def offline(tmp_path: Path) -> Offline:
    return Offline(tmp_path)


def test_verify_offline(offline: Offline, tmp_path: Path) -> None:
    sds = Sds(tmp_path / "no.sock")
    by_bundle = ("--bundle", str(offline.bundle), "--trust-domain", "example.org")
    found = sds.json("jwt", "verify", offline.token(), "--audience", "reports", *by_bundle)
    assert (found["spiffe_id"], found["key_id"]) == (WEB, offline.authority.authority.id)
    assert found["expires_at"].endswith("Z")
    assert "expired" not in sds("jwt", "verify", offline.token(), "--audience", "reports", *by_bundle).stdout
    sds("jwt", "verify", offline.token(), "--audience", "reports", code=5)


def test_offline_refusals(offline: Offline, tmp_path: Path) -> None:
    sds = Sds(tmp_path / "no.sock")

    def refused(token: str, *more: str, code: int = 1, domain: str = "example.org", file: Path = offline.bundle) -> str:
        by_bundle = ("--bundle", str(file), "--trust-domain", domain)
        return str(sds("jwt", "verify", token, "--audience", "reports", *by_bundle, *more, code=code).stderr)

    assert "trust domain example.org" in refused(offline.token(), domain="example.com")
    stranger = Offline(tmp_path)
    assert "does not have the token's key" in refused(offline.token(), file=stranger.bundle)
    offline.bundle.write_bytes(jwt_bundle(offline.authority).spiffe_json())
    offline.now -= timedelta(minutes=10)
    assert "expired" in refused(offline.token())
    found = sds.json(
        "jwt", "verify", offline.token(), "--audience", "reports", "--leeway", "20m",
        "--bundle", str(offline.bundle), "--trust-domain", "example.org",
    )  # fmt: skip
    assert found["spiffe_id"] == WEB
    pem = tmp_path / "bundle.pem"
    pem.write_text("-----BEGIN CERTIFICATE-----")
    assert "sds bundle show --format spiffe" in refused(offline.token(), code=2, file=pem)


def test_a_trust_domain_that_is_none_is_a_mistake_of_the_command_line(offline: Offline, tmp_path: Path) -> None:
    by_bundle = ("--bundle", str(offline.bundle), "--trust-domain", "Not A Domain")
    result = Sds(tmp_path / "no.sock")("jwt", "verify", "a.b.c", "--audience", "a", *by_bundle, code=2)
    assert "--trust-domain" in result.stderr

"""Commands over TLS: where they go, as whom, and what wins where several say so."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from tests.fakes.http_server import Replying, answer, replying
from tests.fakes.pki import make as certificate
from tests.unit.cli.conftest import Sds

EMPTY = answer(body=b'{"agents": [], "next_cursor": null}')
SERVER_ID = "spiffe://example.org/sds/server"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("remote")
    now = datetime.now(UTC)
    times = {"before": now - timedelta(days=1), "after": now + timedelta(days=1)}
    root = certificate("root", **times)
    sans = (x509.DNSName("localhost"), x509.UniformResourceIdentifier(SERVER_ID))
    for name, one in (("ca", root), ("server", certificate("server", root, ca=False, sans=sans, **times))):
        (made / f"{name}.pem").write_bytes(one.pem)
        (made / f"{name}.key").write_bytes(one.key_pem)
    (made / "token").write_text("sds_at_hunter2\n")
    return made


def tls(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


@pytest.fixture
def server(folder: Path) -> Iterator[Replying]:
    with replying(EMPTY, tls=tls(folder)) as found:
        yield found


def env(server: Replying, folder: Path, host: str = "localhost") -> dict[str, str]:
    return {
        "SDS_ADMIN_URL": f"https://{host}:{server.where}",
        "SDS_ADMIN_TOKEN_FILE": str(folder / "token"),
        "SDS_ADMIN_CA_FILE": str(folder / "ca.pem"),
    }


def test_by_flags_and_by_the_environment(sds: Sds, server: Replying, folder: Path) -> None:
    for given, variables in (
        (["--admin-url", f"https://localhost:{server.where}", "--admin-token-file", str(folder / "token"),
          "--admin-ca-file", str(folder / "ca.pem")], {}),
        ([], env(server, folder)),
    ):  # fmt: skip
        done = sds("agent", "list", "--verbose", *given, **variables)
        assert "GET /v1/agents?limit=500: 200 in " in done.stderr
        assert "hunter2" not in done.output
    assert [server.header(number, "authorization") for number in (0, 1)] == ["Bearer sds_at_hunter2"] * 2


def test_a_server_is_told_by_its_spiffe_id(sds: Sds, server: Replying, folder: Path) -> None:
    variables = env(server, folder, "127.0.0.1")
    assert "not to be trusted" in sds("agent", "list", code=5, **variables).stderr
    sds("agent", "list", "--admin-server-id", SERVER_ID, **variables)
    assert "it is not that of" in sds("agent", "list", "--admin-server-id", f"{SERVER_ID}x", code=5, **variables).stderr
    sds("agent", "list", "--admin-server-id", "nonsense", code=2, **variables)
    sds("agent", "list", "--admin-server-name", "localhost", **variables)
    assert len(server.requests) == 2


def test_the_command_line_wins_over_the_environment(sds: Sds, server: Replying, folder: Path) -> None:
    sds("agent", "list", "--admin-socket", str(sds.socket), **env(server, folder))
    assert server.requests == []


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["--admin-socket", "/x", "--admin-url", "https://localhost"], "not both"),
        (["--admin-token-file", "/x"], "needs --admin-url"),
        (["--admin-url", "http://localhost"], "must begin with https://"),
        (["--admin-url", "https://localhost", "--admin-key-file", "/x"], "belong together"),
        (["--admin-url", "https://localhost", "--admin-token-file", "/none"], "/none cannot be read"),
        (["--admin-url", "https://localhost", "--admin-server-id", SERVER_ID], "needs the bundle"),
    ],
)
def test_what_does_not_go_together(sds: Sds, given: list[str], why: str) -> None:
    shown = " ".join(sds("agent", "list", *given, code=2).stderr.replace("│", " ").split())
    assert why in shown


def test_nobody_is_there(sds: Sds, folder: Path) -> None:
    variables = {"SDS_ADMIN_URL": "https://localhost:1", "SDS_ADMIN_CA_FILE": str(folder / "ca.pem")}
    done = sds("agent", "list", code=5, **variables)
    assert done.stderr.splitlines() == [
        "Error: cannot reach https://localhost:1: nothing listens there",
        "Is `sds server run` running, and does it listen there? (--admin-url)",
    ]


def test_who_is_not_known_is_told_what_to_give(sds: Sds, folder: Path) -> None:
    refusal = answer(401, b'{"type": "urn:sds:problem:unauthenticated", "detail": "the token has expired"}')
    with replying(refusal, tls=tls(folder)) as server:
        done = sds("agent", "list", code=1, **env(server, folder))
    assert "Error: the token has expired" in done.stderr
    assert "--admin-token-file" in done.stderr


def test_what_has_to_be_approved_says_so(sds: Sds, folder: Path) -> None:
    approval = b'{"id": "a1", "operation": "authority.revoke", "state": "pending"}'
    with replying(answer(202, approval), tls=tls(folder)) as server:
        done = sds("kek", "rotate", code=9, **env(server, folder))
        told = sds("kek", "rotate", "--output", "json", code=9, **env(server, folder))
    assert "sds access approval approve a1" in done.stderr
    assert json.loads(told.stderr)["approval"]["operation"] == "authority.revoke"
    assert told.stdout == ""


def test_a_call_that_is_put_off_is_made_again_and_each_is_named(sds: Sds, folder: Path) -> None:
    later = answer(
        429, b'{"type": "urn:sds:problem:too-many-requests", "detail": "later"}', headers={"Retry-After": "0"}
    )
    with replying(later, EMPTY, tls=tls(folder)) as server:
        done = sds("agent", "list", "--verbose", **env(server, folder))
    assert [line.split(": ")[1][:3] for line in done.stderr.splitlines()[:2]] == ["429", "200"]

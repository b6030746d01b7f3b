"""Each way to log in, against the auth methods of a real Vault."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.masked import Masked
from sds.vault.auth.approle import AppRole, AppRoleConfig
from sds.vault.auth.certificate import ClientCertificate
from sds.vault.auth.files import read_secret
from sds.vault.auth.method import AuthMethod, CredentialUnusable
from sds.vault.auth.token_file import TokenFile
from sds.vault.auth.web_token import Kubernetes, OwnJwt
from sds.vault.call import make_call
from sds.vault.errors import VaultDenied, VaultUnavailable
from tests.fakes.clock import FakeClock
from tests.fakes.pki import Holder, make
from tests.fakes.token_review import ACCOUNT, NAMESPACE, token_reviews
from tests.fakes.vault_client import Parts, http_options, put_together, token_file
from tests.fakes.vault_server import VaultServer

SELF = make_call("GET", "auth/token/lookup-self")
HOUR = 3600.0


@pytest.fixture
def made() -> Iterator[Callable[..., Parts]]:
    """Sessions that are put away after the test."""
    with ExitStack() as stack:

        def put(server: VaultServer, method: AuthMethod, **more: object) -> Parts:
            parts = put_together(http_options(server), method, **more)
            stack.callback(parts.line.close)
            return parts

        yield put


def own(parts: Parts) -> str:
    """Which token it uses now."""
    return str(parts.session.send(SELF).data["id"])


def approle(server: VaultServer, folder: Path, *, wrapped: bool = False, **role: object) -> tuple[AppRole, str, Path]:
    """The method, its mount, and the file with the secret ID."""
    mount = server.auth_mount("approle")
    server.write_blocking(f"auth/{mount}/role/sds", {"token_policies": ["default"], "token_ttl": "1h", **role})
    role_id = server.read_blocking(f"auth/{mount}/role/sds/role-id")["data"]["role_id"]
    path = token_file(folder, wrapped_secret_id(server, mount) if wrapped else secret_id(server, mount), "secret-id")
    return AppRole(AppRoleConfig(mount, role_id, path, wrapped)), mount, path


def secret_id(server: VaultServer, mount: str) -> str:
    return str(server.write_blocking(f"auth/{mount}/role/sds/secret-id", {})["data"]["secret_id"])


def wrapped_secret_id(server: VaultServer, mount: str) -> str:
    answer = server.call_blocking(f"auth/{mount}/role/sds/secret-id", {}, headers={"X-Vault-Wrap-TTL": "600"})
    return str(answer.json()["wrap_info"]["token"])


# Token file


def test_the_token_in_a_file_is_used_and_renewed_in_time(
    vault_shared: VaultServer, tmp_path: Path, made: Callable[..., Parts]
) -> None:
    clock = FakeClock()
    token = vault_shared.token("default", ttl="1h")
    parts = made(vault_shared, TokenFile(token_file(tmp_path, token)), clock=clock)
    assert own(parts) == token
    assert 0 < (parts.session.keep() or 0) <= HOUR * 2 / 3
    assert parts.seen.token is not None
    assert HOUR - 60 <= parts.seen.token <= HOUR

    before = parts.seen.count("POST", "token")
    clock.advance(HOUR * 0.5)
    parts.session.keep()
    assert parts.seen.count("POST", "token") == before, "not yet"
    clock.advance(HOUR * 0.2)
    parts.session.keep()
    assert parts.seen.count("POST", "token") == before + 1
    assert own(parts) == token


def test_a_token_that_never_ends_is_left_alone(
    vault_shared: VaultServer, tmp_path: Path, made: Callable[..., Parts]
) -> None:
    parts = made(vault_shared, TokenFile(token_file(tmp_path, vault_shared.root)), clock=FakeClock())
    assert parts.session.keep() is None
    assert parts.seen.token is None


def test_another_token_in_the_file_is_taken_at_once(
    vault_shared: VaultServer, tmp_path: Path, made: Callable[..., Parts]
) -> None:
    first, second = vault_shared.token("default"), vault_shared.token("default")
    parts = made(vault_shared, TokenFile(token_file(tmp_path, first)))
    assert own(parts) == first
    token_file(tmp_path, second)
    parts.session.keep()
    assert own(parts) == second


def test_a_revoked_token_is_told_of_until_there_is_another(
    vault_shared: VaultServer, tmp_path: Path, made: Callable[..., Parts]
) -> None:
    clock = FakeClock()
    token = vault_shared.token("default")
    parts = made(vault_shared, TokenFile(token_file(tmp_path, token)), clock=clock)
    assert own(parts) == token
    vault_shared.write_blocking("auth/token/revoke", {"token": token})
    clock.advance(10)
    with pytest.raises(VaultUnavailable, match="token_file"):
        parts.session.send(SELF)
    assert parts.session.problem is not None
    other = vault_shared.token("default")
    token_file(tmp_path, other)
    assert own(parts) == other, "without waiting for the pause to end"
    assert parts.session.problem is None


def test_a_token_file_of_everybodys_is_refused(
    vault_shared: VaultServer, tmp_path: Path, made: Callable[..., Parts]
) -> None:
    path = token_file(tmp_path, vault_shared.root)
    path.chmod(0o644)
    parts = made(vault_shared, TokenFile(path))
    with pytest.raises(VaultUnavailable, match=r"mode 0644.*chmod 600"):
        parts.session.send(SELF)
    path.chmod(0o600)
    with pytest.raises(CredentialUnusable, match="cannot be opened"):
        read_secret(tmp_path / "none", "the token file")
    for content in (b"", b"\n", b"two lines\n", b"\xff\xfe", b"x" * 100_000):
        path.write_bytes(content)
        with pytest.raises(CredentialUnusable, match="one line"):
            read_secret(path, "the token file")


# AppRole


@pytest.mark.both_vaults
def test_approle(vault_shared: VaultServer, tmp_path: Path, made: Callable[..., Parts]) -> None:
    method, _, _ = approle(vault_shared, tmp_path)
    parts = made(vault_shared, method)
    first = own(parts)
    assert first != vault_shared.root
    assert own(parts) == first, "one login is enough"
    assert parts.seen.count("POST", "login") == 1


def test_a_token_revoked_behind_our_back_is_replaced_without_anybody_noticing(
    vault_shared: VaultServer, tmp_path: Path, made: Callable[..., Parts]
) -> None:
    method, _, _ = approle(vault_shared, tmp_path)
    clock = FakeClock()
    parts = made(vault_shared, method, clock=clock)
    first = own(parts)
    vault_shared.write_blocking("auth/token/revoke", {"token": first})
    clock.advance(10)
    assert own(parts) != first
    assert parts.seen.count("POST", "login") == 2


def test_what_policies_deny_is_no_reason_to_log_in_again(
    vault_shared: VaultServer, tmp_path: Path, made: Callable[..., Parts]
) -> None:
    method, _, _ = approle(vault_shared, tmp_path)
    clock = FakeClock()
    parts = made(vault_shared, method, clock=clock)
    for _ in range(5):
        clock.advance(10)
        with pytest.raises(VaultDenied):
            parts.session.send(make_call("GET", "secret/data/not-ours"))
    assert parts.seen.count("POST", "login") == 1


def test_a_token_that_may_not_even_look_at_itself_does_not_make_us_log_in_for_ever(
    vault_shared: VaultServer, tmp_path: Path, made: Callable[..., Parts]
) -> None:
    rules = vault_shared.policy('path "sys/mounts" { capabilities = ["read"] }')
    method, _, _ = approle(vault_shared, tmp_path, token_policies=[rules], token_no_default_policy=True)
    clock = FakeClock()
    parts = made(vault_shared, method, clock=clock)
    for _ in range(10):
        clock.advance(5)
        with pytest.raises(VaultDenied):
            parts.session.send(make_call("GET", "secret/data/not-ours"))
    assert parts.seen.count("POST", "login") <= 2
    assert parts.session.send(make_call("GET", "sys/mounts")).data


def test_a_new_secret_id_is_tried_at_once(
    vault_shared: VaultServer, tmp_path: Path, made: Callable[..., Parts]
) -> None:
    method, mount, path = approle(vault_shared, tmp_path)
    known = path.read_text()
    path.write_text("00000000-0000-0000-0000-000000000000")
    clock = FakeClock()
    parts = made(vault_shared, method, clock=clock)
    with pytest.raises(VaultUnavailable, match="approle"):
        parts.session.send(SELF)
    asked = parts.seen.count("POST", "login", "refused")
    assert asked == 1
    for _ in range(20):
        with pytest.raises(VaultUnavailable):
            parts.session.send(SELF)
    assert parts.seen.count("POST", "login", "refused") == asked, "nobody hammers"
    token_file(tmp_path, secret_id(vault_shared, mount), "secret-id")
    assert own(parts)
    assert known


def test_a_wrapped_secret_id_is_unwrapped_once_and_remembered(
    vault_shared: VaultServer, tmp_path: Path, made: Callable[..., Parts]
) -> None:
    method, mount, _ = approle(vault_shared, tmp_path, wrapped=True)
    clock = FakeClock()
    parts = made(vault_shared, method, clock=clock)
    first = own(parts)
    vault_shared.write_blocking("auth/token/revoke", {"token": first})
    clock.advance(10)
    assert own(parts) != first

    method, _, path = approle(vault_shared, tmp_path, wrapped=True)
    stolen = path.read_text().strip()
    vault_shared.write_blocking("sys/wrapping/unwrap", {"token": stolen})
    late = made(vault_shared, method)
    with pytest.raises(VaultUnavailable, match="somebody else has it"):
        late.session.send(SELF)
    assert mount


def test_what_somebody_else_has_wrapped_is_no_secret_id(
    vault_shared: VaultServer, tmp_path: Path, made: Callable[..., Parts]
) -> None:
    method, _, _ = approle(vault_shared, tmp_path, wrapped=True)
    planted = vault_shared.call_blocking(
        "sys/wrapping/wrap", {"secret_id": "mine"}, headers={"X-Vault-Wrap-TTL": "600"}
    ).json()["wrap_info"]["token"]
    token_file(tmp_path, planted, "secret-id")
    parts = made(vault_shared, method)
    with pytest.raises(VaultUnavailable, match="was not made as a secret ID"):
        parts.session.send(SELF)


def test_at_the_end_of_the_longest_lifetime_another_token_is_got(
    vault_shared: VaultServer, tmp_path: Path, made: Callable[..., Parts]
) -> None:
    """In real time: two seconds of life, four at most."""
    method, _, _ = approle(vault_shared, tmp_path, token_ttl="2s", token_max_ttl="4s")
    parts = made(vault_shared, method)
    tokens = set()
    deadline = time.monotonic() + 60
    while len(tokens) < 3 and time.monotonic() < deadline:
        parts.session.keep()
        tokens.add(own(parts))
        time.sleep(0.1)
    assert len(tokens) == 3
    assert parts.seen.count("POST", "token"), "renewed in between"


# Kubernetes, JWT, certificate


def test_kubernetes(vault_shared: VaultServer, tmp_path: Path, made: Callable[..., Parts]) -> None:
    with token_reviews(tmp_path) as reviews:
        mount = vault_shared.auth_mount("kubernetes")
        config = {
            "kubernetes_host": reviews.url,
            "kubernetes_ca_cert": reviews.root_pem,
            "token_reviewer_jwt": reviews.issue(0),
            "disable_local_ca_jwt": True,
        }
        vault_shared.write_blocking(f"auth/{mount}/config", config)
        bound = {"bound_service_account_names": [ACCOUNT], "bound_service_account_namespaces": [NAMESPACE]}
        vault_shared.write_blocking(f"auth/{mount}/role/sds", {**bound, "token_ttl": "1h"})
        path = token_file(tmp_path, reviews.issue())
        path.chmod(0o644)  # as the kubelet leaves it
        clock = FakeClock()
        parts = made(vault_shared, Kubernetes(mount, "sds", path), clock=clock)
        first = own(parts)

        vault_shared.write_blocking("auth/token/revoke", {"token": first})
        reviews.accounts.pop(path.read_text().strip())
        clock.advance(10)
        with pytest.raises(VaultUnavailable, match="kubernetes"):
            parts.session.send(SELF)
        token_file(tmp_path, reviews.issue(2))
        assert own(parts) != first, "the pod's next token is read when it is needed"


@pytest.mark.both_vaults
def test_jwt(vault_shared: VaultServer, made: Callable[..., Parts]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    mount = vault_shared.auth_mount("jwt")
    vault_shared.write_blocking(f"auth/{mount}/config", {"jwt_validation_pubkeys": [public]})
    subject = "spiffe://example.org/sds/server"
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "bound_subject": subject}
    vault_shared.write_blocking(f"auth/{mount}/role/sds", role)
    minted: list[str] = []

    def mint() -> Masked[str]:
        now = datetime.now(UTC)
        claims = {"sub": subject, "aud": ["vault"], "iat": now, "exp": now + timedelta(minutes=1), "n": len(minted)}
        minted.append(jwt.encode(claims, key, algorithm="ES256"))
        return Masked(minted[-1])

    clock = FakeClock()
    parts = made(vault_shared, OwnJwt(mount, "sds", mint), clock=clock)
    first = own(parts)
    vault_shared.write_blocking("auth/token/revoke", {"token": first})
    clock.advance(10)
    assert own(parts) != first
    assert len(set(minted)) == 2, "one for each login"


def client_certificate(issuer: Holder, folder: Path, name: str) -> tuple[Path, Path]:
    now = datetime.now(UTC)
    usage = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    leaf = make(
        name, issuer, ca=False, before=now - timedelta(hours=1), after=now + timedelta(hours=1), more=[usage],
        sans=[x509.DNSName(name)],
    )  # fmt: skip
    for file, content in (("client.pem", leaf.pem), ("client.key", leaf.key_pem)):
        (folder / f"{file}.new").touch(mode=0o600)
        (folder / f"{file}.new").write_bytes(content)
        (folder / f"{file}.new").rename(folder / file)
    return folder / "client.pem", folder / "client.key"


def test_certificate(vault_on_disk: VaultServer, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    issuer = make("Clients", before=now - timedelta(hours=1), after=now + timedelta(days=1))
    mount = vault_on_disk.auth_mount("cert")
    role = {"certificate": issuer.pem.decode(), "allowed_dns_sans": ["sds.internal.example"], "token_ttl": "1h"}
    vault_on_disk.write_blocking(f"auth/{mount}/certs/sds", role)
    cert, key = client_certificate(issuer, tmp_path, "somebody.example")
    options = replace(http_options(vault_on_disk), cert_file=cert, key_file=key)
    parts = put_together(
        options, lambda line: ClientCertificate(mount, "sds", cert, key, line.renew), clock=FakeClock()
    )
    with pytest.raises(VaultUnavailable, match="cert"):
        parts.session.send(SELF)
    client_certificate(issuer, tmp_path, "sds.internal.example")
    assert own(parts), "the new certificate is shown at once"
    assert parts.seen.count("POST", "login") == 1
    parts.line.close()


def test_a_certificate_that_does_not_fit_its_key(vault_on_disk: VaultServer, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    issuer = make("Clients", before=now - timedelta(hours=1), after=now + timedelta(days=1))
    cert, key = client_certificate(issuer, tmp_path, "one")
    key.chmod(0o640)
    key.write_bytes(issuer.key_pem)
    parts = put_together(
        replace(http_options(vault_on_disk), cert_file=cert, key_file=key),
        ClientCertificate("cert", "", cert, key, int),
    )
    with pytest.raises(VaultUnavailable, match="cannot be used"):
        parts.session.send(SELF)
    key.chmod(0o644)
    with pytest.raises(VaultUnavailable, match=r"others may use .* \(mode 0644\)"):
        parts.session.send(SELF)
    parts.line.close()

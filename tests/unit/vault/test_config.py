"""The keys of `vault`."""

from __future__ import annotations

from pathlib import Path

import pytest

from sds.config import ConfigError, ServerConfig, load_server_config

ADDRESS = "[vault]\naddress = 'https://vault.example.org:8200'\n"
JWT = "[jwt]\nissuer = 'https://oidc.example.org'\n"


def load(tmp_path: Path, toml: str) -> ServerConfig:
    file = tmp_path / "server.toml"
    file.write_text("trust_domain = 'example.org'\n" + toml)
    return load_server_config(file, {}, {})


def problems(tmp_path: Path, toml: str) -> set[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, toml)
    return {problem.key for problem in caught.value.problems}


def test_by_default_there_is_none(tmp_path: Path) -> None:
    assert load(tmp_path, "").vault.address == ""


@pytest.mark.parametrize(
    "address",
    [
        "https://vault.example.org:8200", "https://vault", "https://10.0.0.1:8200", "https://[::1]:8200",
        "http://127.0.0.1:8200", "http://localhost:8100", "http://[::1]:8200", "http://127.8.9.1",
    ],
)  # fmt: skip
def test_addresses(tmp_path: Path, address: str) -> None:
    made = load(tmp_path, f"[vault]\naddress = '{address}/'\n[vault.auth]\ntoken_file = '/run/t'\n")
    assert made.vault.address == address


@pytest.mark.parametrize(
    "address",
    [
        "http://vault.example.org:8200", "http://10.0.0.1", "http://localhost.example.org", "vault.example.org:8200",
        "https://", "https://vault:0x", "https://vault:99999", "https://user:pw@vault", "https://vault/v1",
        "https://vault?x=1", "https://vault#x", "ftp://vault", "https://va ult", "unix:///run/vault", "https://[::1", "http://127.0.0.1.evil.example",
    ],
)  # fmt: skip
def test_addresses_that_are_refused(tmp_path: Path, address: str) -> None:
    wanted = {"vault.address"}
    assert problems(tmp_path, f"[vault]\naddress = '{address}'\n[vault.auth]\ntoken_file = '/run/t'\n") == wanted


@pytest.mark.parametrize(
    ("auth", "missing"),
    [
        ("", {"token_file"}),
        ("method = 'approle'", {"role_id", "secret_id_file"}),
        ("method = 'approle'\nrole_id = 'r'", {"secret_id_file"}),
        ("method = 'kubernetes'", {"role"}),
        ("method = 'jwt'", {"role", "audience"}),
        ("method = 'cert'", {"cert_file", "key_file"}),
    ],
)
def test_half_an_auth_method(tmp_path: Path, auth: str, missing: set[str]) -> None:
    assert problems(tmp_path, f"{JWT}{ADDRESS}[vault.auth]\n{auth}\n") == {f"vault.auth.{name}" for name in missing}


def test_whole_ones(tmp_path: Path) -> None:
    jwt = load(tmp_path, f"{JWT}{ADDRESS}[vault.auth]\nmethod = 'jwt'\nrole = 'sds'\naudience = 'vault'\n")
    assert jwt.vault.auth.mounted_at == "jwt"
    assert problems(tmp_path, f"{ADDRESS}[vault.auth]\nmethod = 'jwt'\nrole = 'sds'\naudience = 'vault'\n") == {
        "jwt.issuer"
    }
    pod = load(tmp_path, f"{ADDRESS}[vault.auth]\nmethod = 'kubernetes'\nrole = 'sds'\nmount = 'k8s/one'\n")
    assert pod.vault.auth.mounted_at == "k8s/one"
    assert str(pod.vault.auth.pod_token).startswith("/var/run/secrets/kubernetes.io/")


def test_a_certificate_needs_tls(tmp_path: Path) -> None:
    auth = "[vault.auth]\nmethod = 'cert'\ncert_file = '/c'\nkey_file = '/k'\n"
    assert problems(tmp_path, f"[vault]\naddress = 'http://127.0.0.1:8200'\n{auth}") == {"vault.address"}
    name = "[vault]\naddress = 'http://127.0.0.1:8200'\ntls_server_name = 'vault'\n[vault.auth]\ntoken_file = '/t'\n"
    assert problems(tmp_path, name) == {"vault.tls_server_name"}


@pytest.mark.parametrize("value", ["../sys", "a/../b", "a b", "a?b", "a//b", "."])
def test_what_would_climb_out_of_a_mount_or_namespace(tmp_path: Path, value: str) -> None:
    assert problems(tmp_path, f"{ADDRESS}namespace = '{value}'\n[vault.auth]\ntoken_file = '/t'\nmount = '{value}'\n") == {
        "vault.namespace", "vault.auth.mount"
    }  # fmt: skip


def test_no_switch_turns_verification_off(tmp_path: Path) -> None:
    for name in ("tls_skip_verify", "insecure", "verify"):
        assert problems(tmp_path, f"{ADDRESS}{name} = true\n[vault.auth]\ntoken_file = '/t'\n") == {f"vault.{name}"}

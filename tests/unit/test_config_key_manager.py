"""The keys of `ca.key_manager`: half a token is refused, and so are keys that no token makes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from ca.catalog import KEY_MANAGERS
from ca.key_managers import transit_keys
from ca.key_managers.objects import KEY_TYPES
from ca.keys import POST_QUANTUM
from sds.config import ConfigError, ServerConfig, load_agent_config, load_server_config
from sds.config.ca.key_manager import TOKEN_KEY_TYPES, KeyManagerName
from sds.config.vault_uses import TRANSIT_KEY_TYPES

TOKEN = "[ca.key_manager.pkcs11]\nmodule = '/usr/lib/hsm.so'\ntoken = 'sds'\npin_file = '/run/pin'\n"


def load(tmp_path: Path, toml: str) -> ServerConfig:
    file = tmp_path / "server.toml"
    file.write_text("trust_domain = 'example.org'\n" + toml)
    return load_server_config(file, {}, {})


def problems(tmp_path: Path, toml: str) -> set[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, toml)
    return {problem.key for problem in caught.value.problems}


def test_the_names_are_those_of_the_catalogue() -> None:
    assert set(get_args(KeyManagerName)) == set(KEY_MANAGERS)
    assert {str(key_type) for key_type in KEY_TYPES} == TOKEN_KEY_TYPES
    assert {str(key_type) for key_type in transit_keys.KEY_TYPES} == TRANSIT_KEY_TYPES


def test_the_default_is_wrapped(tmp_path: Path) -> None:
    assert load(tmp_path, "").ca.key_manager.plugin == "wrapped"


def test_a_token_may_stay_configured_beside_another_plugin(tmp_path: Path) -> None:
    section = load(tmp_path, TOKEN).ca.key_manager
    assert section.plugin == "wrapped"
    assert section.pkcs11.token == "sds"


@pytest.mark.parametrize("missing", ["module", "token", "pin_file"])
@pytest.mark.parametrize("plugin", ["wrapped", "pkcs11"])
def test_half_a_token(tmp_path: Path, plugin: str, missing: str) -> None:
    half = "\n".join(line for line in TOKEN.splitlines() if not line.startswith(missing))
    wanted = {f"ca.key_manager.pkcs11.{missing}"}
    assert problems(tmp_path, f"[ca.key_manager]\nplugin = '{plugin}'\n{half}") == wanted


def test_no_token_at_all(tmp_path: Path) -> None:
    wanted = {f"ca.key_manager.pkcs11.{name}" for name in ("module", "token", "pin_file")}
    assert problems(tmp_path, "[ca.key_manager]\nplugin = 'pkcs11'") == wanted


def test_keys_that_no_token_makes(tmp_path: Path) -> None:
    toml = f"[ca]\nkey_type = 'ed25519'\n[ca.key_manager]\nplugin = 'pkcs11'\n{TOKEN}"
    assert problems(tmp_path, toml) == {"ca.key_type"}
    assert load(tmp_path, toml.replace("ed25519", "rsa-3072")).ca.key_type == "rsa-3072"


@pytest.mark.parametrize("label", ["''", f"'{'x' * 33}'", '"a\\u0000"', "7"])
def test_labels_that_no_token_has(tmp_path: Path, label: str) -> None:
    assert "ca.key_manager.pkcs11.token" in problems(tmp_path, TOKEN.replace("'sds'", label))


@pytest.mark.parametrize("key_type", sorted(POST_QUANTUM))
def test_post_quantum_keys_are_asked_for_twice(tmp_path: Path, key_type: str) -> None:
    toml = f"[ca]\nkey_type = '{key_type}'\n"
    assert problems(tmp_path, toml) == {"ca.key_type"}
    assert load(tmp_path, f"{toml}post_quantum = true\n").ca.key_type == key_type
    token = f"{toml}post_quantum = true\n[ca.key_manager]\nplugin = 'pkcs11'\n{TOKEN}"
    assert problems(tmp_path, token) == {"ca.key_type"}


def test_a_workload_cannot_have_a_post_quantum_key(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("server = '127.0.0.1:1'\n[svid]\nkey_type = 'mldsa-65'\n")
    with pytest.raises(ConfigError) as caught:
        load_agent_config(file, {}, {})
    assert "svid.key_type" in {problem.key for problem in caught.value.problems}


VAULT = "[vault]\naddress = 'https://vault.example.org:8200'\n[vault.auth]\ntoken_file = '/run/token'\n"
KEYS = "[ca.key_manager]\nplugin = 'vault_transit'\n[ca.key_manager.vault_transit]\nmount = 'transit'\n"
KEK = "[kek]\nplugin = 'vault_transit'\n[kek.vault_transit]\nmount = 'transit'\n"
PKI = "[ca.upstream]\nplugin = 'vault_pki'\n[ca.upstream.vault_pki]\nmount = 'pki'\n"
OWN_TOKEN = (
    VAULT.replace("token_file = '/run/token'", "method = 'jwt'\nrole = 'sds'\naudience = 'vault'")
    + "[jwt]\nissuer = 'https://oidc.example.org'\n"
)


@pytest.mark.parametrize("use", [KEYS, KEK, PKI])
def test_what_is_in_vault_needs_a_vault_and_a_mount(tmp_path: Path, use: str) -> None:
    load(tmp_path, VAULT + use)
    assert problems(tmp_path, use) == {"vault.address"}
    (missing,) = problems(tmp_path, VAULT + use.replace("'transit'", "''").replace("'pki'", "''"))
    assert missing.endswith(".mount")


@pytest.mark.parametrize("use", [KEYS, KEK])
def test_a_token_cannot_be_signed_by_the_key_that_it_is_to_reach(tmp_path: Path, use: str) -> None:
    assert "vault.auth.method" in problems(tmp_path, OWN_TOKEN + use)


def test_keys_that_transit_does_not_make(tmp_path: Path) -> None:
    toml = VAULT + "[ca]\nkey_type = 'mldsa-65'\npost_quantum = true\n" + KEYS
    assert problems(tmp_path, toml) == {"ca.key_type"}
    assert load(tmp_path, toml.replace("mldsa-65", "ed25519")).ca.key_type == "ed25519"


@pytest.mark.parametrize("prefix", ["", "-x", "a/b", "../x", "x" * 33, "a b"])
def test_prefixes_that_no_key_may_have(tmp_path: Path, prefix: str) -> None:
    toml = f"{VAULT}{KEYS}key_prefix = '{prefix}'\n"
    assert problems(tmp_path, toml) == {"ca.key_manager.vault_transit.key_prefix"}


PAGES = [
    "docs/key-managers/pkcs11.md",
    "docs/key-managers/vault-transit.md",
    "docs/key-types.md",
    "docs/upstreams/vault-pki.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_what_the_documentation_shows_is_accepted(tmp_path: Path, page: str) -> None:
    text = (Path(__file__).parents[2] / page).read_text()
    for block in re.findall(r"^```toml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        shown = load(tmp_path, block).ca
        chosen = (shown.key_manager.plugin, shown.upstream.plugin, shown.key_type)
        assert chosen != ("wrapped", "self_signed", "ecdsa-p256")

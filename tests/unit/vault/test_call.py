"""What is sent to Vault: paths that cannot climb, operations for metrics, what counts as secret."""

from __future__ import annotations

import json
from urllib.parse import unquote, urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from ca.masked import Masked
from sds.metrics.vault import VAULT_METHODS, VAULT_OPERATIONS, VAULT_OUTCOMES
from sds.vault.call import METHODS, OPERATIONS, make_call, operation_of
from sds.vault.errors import VaultRefused
from sds.vault.line import OUTCOMES


@pytest.mark.parametrize(
    "path", ["", "/", "/a", "a//b", "a/../b", "..", "a/.", "./a", "a\x00b", "a\nb", "a\u2028b", "x" * 2049, "\ud800"]
)
def test_paths_that_are_not_sent(path: str) -> None:
    with pytest.raises(VaultRefused):
        make_call("GET", path)


@given(st.text(max_size=60))
def test_whatever_the_path_the_library_asks_for_that_and_nothing_else(path: str) -> None:
    try:
        call = make_call("GET", path)
    except VaultRefused:
        return
    url = requests.Request("GET", f"https://vault.example/v1/{call.path}").prepare().url
    assert url is not None
    parts = urlsplit(url)
    assert (parts.netloc, parts.query, parts.fragment) == ("vault.example", "", "")
    assert unquote(parts.path) == f"/v1/{path.removesuffix('/')}"


def test_methods() -> None:
    with pytest.raises(VaultRefused):
        make_call("TRACE", "a")
    assert make_call("GET", "a").idempotent
    assert not make_call("POST", "a").idempotent


def test_masked_values_are_sent_and_not_seen() -> None:
    call = make_call("POST", "auth/approle/login", {"role_id": "some-role", "secret_id": Masked("canary-77")})
    assert json.loads(call.body or b"") == {"role_id": "some-role", "secret_id": "canary-77"}
    assert "canary-77" in call.secrets
    assert "canary-77" not in repr(call)
    with pytest.raises(VaultRefused):
        make_call("POST", "a", {"x": object()})
    with pytest.raises(VaultRefused):
        make_call("POST", "a", {"x": float("nan")})


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("auth/approle/login", "login"),
        ("auth/token/renew-self", "token"),
        ("sys/health", "sys"),
        ("kv/data/db", "data"),
        ("team/one/kv/data/data/x", "data"),
        ("data/metadata/x", "metadata"),
        ("transit/sign/key", "sign"),
        ("pki/root/sign-intermediate", "root"),
        ("database/creds/role", "creds"),
        ("cubbyhole/data", "other"),
        ("something/else", "other"),
    ],
)
def test_operations(path: str, operation: str) -> None:
    assert operation_of(path.split("/")) == operation


def test_metrics_know_every_label() -> None:
    assert OPERATIONS == VAULT_OPERATIONS
    assert set(VAULT_METHODS) - {"other"} == METHODS
    assert set(VAULT_OUTCOMES) - {"other"} == set(OUTCOMES)

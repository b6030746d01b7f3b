"""The servers that these tests run on are what they are taken for."""

from __future__ import annotations

import pytest

from tests.fakes.vault_server import VaultServer

pytestmark = pytest.mark.both_vaults


def test_one_in_dev_mode_is_ready(vault_shared: VaultServer) -> None:
    mount = vault_shared.mount("kv", {"version": "2"})
    vault_shared.write_blocking(f"{mount}/data/db", {"data": {"password": "pa55"}})
    assert vault_shared.read_blocking(f"{mount}/data/db")["data"]["data"] == {"password": "pa55"}
    version = vault_shared.read_blocking("sys/health")["version"]
    assert vault_shared.list_blocking(f"{mount}/metadata") == ["db"], version


def test_one_on_disk_survives_what_happens_to_servers(vault_on_disk: VaultServer) -> None:
    server = vault_on_disk
    server.write_blocking("sys/mounts/kept", {"type": "kv"})
    server.write_blocking("kept/a", {"b": "c"})
    server.seal()
    assert server.call_blocking("kept/a").status_code == 503
    server.unseal()
    server.kill()
    server.start_sealed()
    assert server.call_blocking("kept/a").status_code == 503
    server.unseal()
    assert server.read_blocking("kept/a")["data"] == {"b": "c"}

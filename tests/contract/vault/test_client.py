"""The client and a real Vault: requests, answers, errors, bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ca.masked import Masked
from sds.vault.auth.token_file import TokenFile
from sds.vault.client import VaultClient
from sds.vault.errors import VaultDenied, VaultNotFound, VaultRefused, VaultUnavailable
from tests.fakes.vault_client import http_options, put_together, root_client, token_file
from tests.fakes.vault_server import VaultServer

pytestmark = pytest.mark.both_vaults


@pytest.fixture
async def client(vault_shared: VaultServer, tmp_path: Path) -> AsyncIterator[VaultClient]:
    made = root_client(vault_shared, tmp_path)
    yield made
    await made.close()


async def test_what_is_written_is_read(client: VaultClient, vault_shared: VaultServer) -> None:
    mount = vault_shared.mount("kv", {"version": "2"})
    written = await client.request("POST", f"{mount}/data/a b/c?d", {"data": {"k": Masked("v")}})
    assert written.data["version"] == 1
    read = await client.request("GET", f"{mount}/data/a b/c?d", params={"version": "1"})
    assert read.data["data"] == {"k": "v"}
    patched = await client.request("PATCH", f"{mount}/data/a b/c?d", {"data": {"l": "w"}})
    assert patched.data["version"] == 2
    assert (await client.request("GET", f"{mount}/data/a b/c?d")).data["data"] == {"k": "v", "l": "w"}
    assert (await client.request("LIST", f"{mount}/metadata/a b")).data["keys"] == ["c?d"]
    gone = await client.request("DELETE", f"{mount}/data/a b/c?d")
    assert (gone.status, dict(gone.data)) == (204, {})


async def test_from_a_worker_thread(client: VaultClient, vault_shared: VaultServer) -> None:
    mount = vault_shared.mount("kv")
    await asyncio.to_thread(client.request_blocking, "PUT", f"{mount}/x", {"y": "z"})
    answer = await asyncio.to_thread(client.request_blocking, "GET", f"{mount}/x")
    assert (dict(answer.data), answer.renewable) == ({"y": "z"}, False)
    assert answer.lease_seconds > 0, "what KV version 1 proposes"


async def test_errors_are_told_apart(client: VaultClient, vault_shared: VaultServer) -> None:
    mount = vault_shared.mount("kv", {"version": "2"})
    with pytest.raises(VaultNotFound) as missing:
        await client.request("GET", f"{mount}/data/none")
    assert (missing.value.status, missing.value.answer) == (404, None)

    vault_shared.write_blocking(f"{mount}/data/old", {"data": {"k": "v"}})
    vault_shared.delete_blocking(f"{mount}/data/old")
    with pytest.raises(VaultNotFound) as deleted:
        await client.request("GET", f"{mount}/data/old")
    assert deleted.value.answer is not None
    assert deleted.value.answer.data["metadata"]["deletion_time"], "KV v2 tells of what was deleted"

    weak = Masked(vault_shared.token("default"))
    with pytest.raises(VaultDenied) as denied:
        await client.request("GET", f"{mount}/data/old", token=weak)
    assert denied.value.status == 403
    with pytest.raises(VaultRefused) as refused:
        await client.request("POST", f"{mount}/data/old", {"no": "data"})
    assert refused.value.status == 400


async def test_what_climbs_out_of_its_path_is_not_sent(client: VaultClient) -> None:
    for path in ("secret/../sys/mounts", "secret/data/./a", "/secret/data", "secret//a", "", "a\nb", "x" * 2049):
        with pytest.raises(VaultRefused):
            await client.request("GET", path)


async def test_lists_and_answers_have_a_bound(vault_shared: VaultServer, tmp_path: Path) -> None:
    mount = vault_shared.mount("kv")
    vault_shared.write_blocking(f"{mount}/big", {"value": "x" * 100_000})
    vault_shared.write_blocking(f"{mount}/small", {"value": "x"})
    bounded = replace(http_options(vault_shared), max_response_bytes=50_000)
    parts = put_together(bounded, TokenFile(token_file(tmp_path, vault_shared.root)))
    with pytest.raises(VaultUnavailable, match="larger than 50000 bytes"):
        await parts.client.request("GET", f"{mount}/big")
    assert (await parts.client.request("GET", f"{mount}/small")).data == {"value": "x"}
    await parts.client.close()

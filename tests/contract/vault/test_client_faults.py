"""What happens to Vaults and to the networks before them, done to a real one while the client uses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sds.vault.auth.approle import AppRole, AppRoleConfig
from sds.vault.auth.method import AuthMethod
from sds.vault.auth.token_file import TokenFile
from sds.vault.client import ClientOptions
from sds.vault.errors import VaultUnavailable
from sds.vault.http import HttpOptions
from sds.vault.retry import RetryRules
from tests.fakes.vault_client import QUICK, Parts, http_options, put_together, token_file
from tests.fakes.vault_relay import SlowRelay, slow_relay
from tests.fakes.vault_server import VaultServer
from tests.fakes.wait import until

ROLE_ID, SECRET_ID = "fixed-role-id", "fixed-secret-id"


@asynccontextmanager
async def running(http: HttpOptions, method: AuthMethod, **options: object) -> AsyncIterator[Parts]:
    """A client that looks after itself, as in the server."""
    made = replace(ClientOptions(watch=0.3), **options)
    parts = put_together(http, method, made)
    task = asyncio.create_task(parts.client.run())
    try:
        yield parts
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await parts.client.close()


def root(server: VaultServer, folder: Path) -> TokenFile:
    return TokenFile(token_file(folder, server.root))


def keyed_approle(server: VaultServer, folder: Path) -> AppRole:
    """One whose credentials are known before, so that they can be set up a second time."""
    server.write_blocking("sys/auth/approle", {"type": "approle"})
    server.write_blocking("auth/approle/role/sds", {"token_policies": [], "token_ttl": "1h"})
    server.write_blocking("auth/approle/role/sds/role-id", {"role_id": ROLE_ID})
    server.write_blocking("auth/approle/role/sds/custom-secret-id", {"secret_id": SECRET_ID})
    return AppRole(AppRoleConfig("approle", ROLE_ID, token_file(folder, SECRET_ID, "secret-id")))


async def works(parts: Parts, path: str) -> bool:
    try:
        await parts.client.request("GET", path)
    except VaultUnavailable:
        return False
    return True


async def until_it_works(parts: Parts, path: str) -> None:
    async with asyncio.timeout(60):
        while not await works(parts, path):
            await asyncio.sleep(0.05)


async def test_sealed_and_unsealed(vault_on_disk: VaultServer, tmp_path: Path) -> None:
    server = vault_on_disk
    mount = server.mount("kv")
    server.write_blocking(f"{mount}/a", {"b": "c"})
    async with running(http_options(server), root(server, tmp_path)) as parts:
        await parts.client.request("GET", f"{mount}/a")
        assert await parts.client.readiness() is None
        await asyncio.to_thread(server.seal)
        with pytest.raises(VaultUnavailable) as sealed:
            await parts.client.request("GET", f"{mount}/a")
        assert sealed.value.status in {503, None}, "None: the breaker has opened meanwhile"
        await until(lambda: parts.client.problem() is not None)
        assert parts.seen.up is False

        await asyncio.to_thread(server.unseal)
        await until(lambda: parts.client.problem() is None)
        await until_it_works(parts, f"{mount}/a")
        assert parts.seen.up is True


async def test_while_it_is_down_it_is_left_alone(vault_on_disk: VaultServer, tmp_path: Path) -> None:
    server = vault_on_disk
    async with running(http_options(server), root(server, tmp_path)) as parts:
        await parts.client.request("GET", "sys/mounts")
        await asyncio.to_thread(server.kill)
        for _ in range(300):
            assert not await works(parts, "sys/mounts")
        sent = [one for one in parts.seen.requests if one == ("GET", "sys", "unavailable")]
        assert len(sent) < 100, "300 were asked for"
        with pytest.raises(VaultUnavailable) as resting:
            await until_refused_unsent(parts)
        assert resting.value.retry_after is not None

        await asyncio.to_thread(server.start)
        await until_it_works(parts, "sys/mounts")


async def until_refused_unsent(parts: Parts) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await parts.client.request("GET", "sys/mounts")
            except VaultUnavailable as error:
                if "left alone" in str(error):
                    raise


async def test_killed_and_restarted_under_load(vault_on_disk: VaultServer, tmp_path: Path) -> None:
    """Our token is still good afterwards; what was asked meanwhile failed as unavailable and as nothing else."""
    server = vault_on_disk
    mount = server.mount("kv")
    server.write_blocking(f"{mount}/a", {"b": "c"})
    async with running(http_options(server), root(server, tmp_path)) as parts:
        stop = asyncio.Event()
        outcomes: list[bool] = []

        async def load() -> None:
            while not stop.is_set():
                outcomes.append(await works(parts, f"{mount}/a"))
                await asyncio.sleep(0.01)

        loads = [asyncio.create_task(load()) for _ in range(4)]
        await until(lambda: len(outcomes) > 20)
        await asyncio.to_thread(server.kill)
        await until(lambda: outcomes[-1] is False)
        await asyncio.to_thread(server.start)
        await until(lambda: outcomes[-1] is True)
        stop.set()
        await asyncio.gather(*loads)
        assert not outcomes[: outcomes.index(False)].count(False)


async def test_a_vault_that_has_forgotten_us_is_logged_in_to_again(vault_own: VaultServer, tmp_path: Path) -> None:
    """One in dev mode keeps nothing: the token is unknown after the restart, the credentials are set up again."""
    method = keyed_approle(vault_own, tmp_path)
    async with running(http_options(vault_own), method) as parts:
        first = (await parts.client.request("GET", "auth/token/lookup-self")).data["id"]
        await asyncio.to_thread(vault_own.restart)
        await asyncio.to_thread(keyed_approle, vault_own, tmp_path)
        await until_it_works(parts, "auth/token/lookup-self")
        second = (await parts.client.request("GET", "auth/token/lookup-self")).data["id"]
        assert first != second


async def test_all_at_once_log_in_once(vault_shared: VaultServer, tmp_path: Path) -> None:
    mount = vault_shared.auth_mount("approle")
    vault_shared.write_blocking(f"auth/{mount}/role/sds", {"token_ttl": "1h"})
    role_id = vault_shared.read_blocking(f"auth/{mount}/role/sds/role-id")["data"]["role_id"]
    secret_id = vault_shared.write_blocking(f"auth/{mount}/role/sds/secret-id", {})["data"]["secret_id"]
    method = AppRole(AppRoleConfig(mount, role_id, token_file(tmp_path, secret_id, "secret-id")))
    async with running(http_options(vault_shared), method) as parts:
        own = [parts.client.request("GET", "auth/token/lookup-self") for _ in range(30)]
        tokens = {answer.data["id"] for answer in await asyncio.gather(*own)}
        assert len(tokens) == 1
        first = tokens.pop()
        vault_shared.write_blocking("auth/token/revoke", {"token": first})
        own = [parts.client.request("GET", "auth/token/lookup-self") for _ in range(30)]
        again = {answer.data["id"] for answer in await asyncio.gather(*own)}
        assert len(again) == 1
        assert again != {first}
        assert parts.seen.count("POST", "login") == 2


async def test_a_slow_network_holds_up_nobody_else(vault_shared: VaultServer, tmp_path: Path) -> None:
    with slow_relay(vault_shared.port) as relay:
        async with running(through(relay), root(vault_shared, tmp_path)) as parts:
            relay.delay = 0.2
            answer = asyncio.create_task(parts.client.request("GET", "sys/mounts"))
            turns = 0
            while not answer.done():
                await asyncio.sleep(0)
                turns += 1
            assert (await answer).data
            assert turns > 10, "the event loop went on turning"


async def test_a_dead_network_ends_in_time_and_comes_back(vault_shared: VaultServer, tmp_path: Path) -> None:
    with slow_relay(vault_shared.port) as relay:
        retries = RetryRules(0, QUICK)
        async with running(through(relay, timeout=1.0), root(vault_shared, tmp_path), retries=retries) as parts:
            await parts.client.request("GET", "sys/mounts")
            relay.dead = True
            with pytest.raises(VaultUnavailable, match=r"in time|left alone"):
                await parts.client.request("GET", "sys/mounts")
            await until(lambda: parts.client.problem() is not None)
            relay.dead = False
            relay.cut()
            await until_it_works(parts, "sys/mounts")
            await until(lambda: parts.client.problem() is None)


async def test_connections_that_were_cut_are_made_anew(vault_shared: VaultServer, tmp_path: Path) -> None:
    with slow_relay(vault_shared.port) as relay:
        async with running(through(relay), root(vault_shared, tmp_path)) as parts:
            for _ in range(5):
                assert await works(parts, "sys/mounts"), "sent again, since reading twice is harmless"
                relay.cut()
            assert relay.connections >= 5


async def test_a_server_that_stands_still(vault_own: VaultServer, tmp_path: Path) -> None:
    options = replace(http_options(vault_own), timeout=1.0)
    async with running(options, root(vault_own, tmp_path)) as parts:
        await parts.client.request("GET", "sys/mounts")
        vault_own.pause()
        try:
            await until(lambda: parts.client.problem() is not None)
            assert not await works(parts, "sys/mounts")
        finally:
            vault_own.resume()
        await until_it_works(parts, "sys/mounts")


async def test_who_is_limited_waits_and_the_others_do_not(vault_own: VaultServer, tmp_path: Path) -> None:
    """A quota on one mount (429, Retry-After): its requests get through in time, and no breaker opens for the rest."""
    limited, free = vault_own.mount("kv"), vault_own.mount("kv")
    for mount in (limited, free):
        vault_own.write_blocking(f"{mount}/a", {"b": "c"})
    vault_own.write_blocking("sys/quotas/rate-limit/narrow", {"path": f"{limited}/", "rate": 5, "interval": "1s"})
    retries = RetryRules(20, QUICK, longest=30.0)
    async with running(http_options(vault_own), root(vault_own, tmp_path), retries=retries) as parts:
        async with asyncio.timeout(120):
            answers = await asyncio.gather(*(parts.client.request("GET", f"{limited}/a") for _ in range(20)))
        assert all(answer.data == {"b": "c"} for answer in answers)
        assert parts.seen.count("GET", "other", "unavailable"), "some were turned away at first"
        assert await works(parts, f"{free}/a")
        assert parts.client.problem() is None


async def test_the_budget_is_kept(vault_shared: VaultServer, tmp_path: Path) -> None:
    options = {"requests_per_second": 50.0, "burst": 5.0, "longest_wait": 60.0}
    async with running(http_options(vault_shared), root(vault_shared, tmp_path), **options) as parts:
        began = time.monotonic()
        await asyncio.gather(*(parts.client.request("GET", "sys/mounts") for _ in range(55)))
        assert time.monotonic() - began >= 0.99, "50 of them at 50 a second"


async def test_more_than_the_budget_bears_is_refused_at_once(vault_shared: VaultServer, tmp_path: Path) -> None:
    options = {"requests_per_second": 1.0, "burst": 1.0, "longest_wait": 0.5, "max_waiting": 5}
    async with running(http_options(vault_shared), root(vault_shared, tmp_path), **options) as parts:
        asked = [parts.client.request("GET", "sys/mounts") for _ in range(20)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        texts = {str(one) for one in found if isinstance(one, VaultUnavailable)}
        assert texts == {"more is asked of Vault than 1 requests a second", "too many requests wait for Vault"} or (
            texts == {"more is asked of Vault than 1 requests a second"}
        )
        assert sum(not isinstance(one, BaseException) for one in found) >= 1


async def test_a_signature_does_not_wait_for_those_who_ask_for_secrets(
    vault_shared: VaultServer, tmp_path: Path
) -> None:
    """Requests of worker threads, as keys in Vault make them, have a budget of their own."""
    options = {"requests_per_second": 0.05, "burst": 2.0, "longest_wait": 1000.0}
    async with running(http_options(vault_shared), root(vault_shared, tmp_path), **options) as parts:
        waiting = [asyncio.create_task(parts.client.request("GET", "sys/mounts")) for _ in range(10)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        async with asyncio.timeout(60):  # the last of those would wait for 160 seconds
            await asyncio.to_thread(parts.client.request_blocking, "GET", "sys/mounts")
        assert not all(one.done() for one in waiting)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def through(relay: SlowRelay, timeout: float = 20.0) -> HttpOptions:
    return HttpOptions(f"http://127.0.0.1:{relay.port}", timeout=timeout)


async def test_after_it_is_closed(vault_shared: VaultServer, tmp_path: Path) -> None:
    parts = put_together(http_options(vault_shared), root(vault_shared, tmp_path))
    await parts.client.request("GET", "sys/mounts")
    await parts.client.close()
    with pytest.raises(VaultUnavailable, match="closed"):
        await parts.client.request("GET", "sys/mounts")
    with pytest.raises(VaultUnavailable, match="closed"):
        await asyncio.to_thread(parts.client.request_blocking, "GET", "sys/mounts")

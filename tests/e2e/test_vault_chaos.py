"""Vault fails in every way it can, under a real server with sidecars on their streams: nothing delivered is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.e2e.harness.vault_chaos import EMBEDDED, LONG, Chaos, chaos, policy_for, sidecar
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World
from tests.fakes.sds_clients import EnvoyDelta
from tests.fakes.vault_client import token_file
from tests.fakes.vault_server import VaultServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
Fault = Callable[[Chaos], Awaitable[Any]]


async def seal(scene: Chaos) -> None:
    await asyncio.to_thread(scene.vault.seal)


async def unseal(scene: Chaos) -> None:
    await asyncio.to_thread(scene.vault.unseal)


async def kill(scene: Chaos) -> None:
    await asyncio.to_thread(scene.vault.kill)


async def start_and_unseal(scene: Chaos) -> None:
    """Sealed at first, as after any start; what our server asks until then is refused."""
    await asyncio.to_thread(scene.vault.start_sealed)
    await asyncio.to_thread(scene.vault.unseal)


async def revoke_token(scene: Chaos) -> None:
    token = (scene.world.folder / "vault-token").read_text().strip()
    await scene.vault.write("auth/token/revoke", {"token": token})


async def restart_and_replace_token(scene: Chaos) -> None:
    """Vault comes back without the token that our server had; whoever looks after the file puts another there."""
    await kill(scene)
    await start_and_unseal(scene)
    policy = await asyncio.to_thread(policy_for, scene.vault, scene.narrow, scene.steady)
    token_file(scene.world.folder, await asyncio.to_thread(scene.vault.token, policy))


async def slow(scene: Chaos) -> None:
    """Each piece takes longer than a request may."""
    scene.relay.delay = 2.5


async def cut(scene: Chaos) -> None:
    """Connections end, and new ones get no answer."""
    scene.relay.dead = True
    scene.relay.cut()


async def quick(scene: Chaos) -> None:
    scene.relay.delay, scene.relay.dead = 0.0, False
    scene.relay.cut()


async def limit(scene: Chaos) -> None:
    quota = {"path": f"{scene.narrow}/", "rate": 1, "interval": "1h"}
    await scene.vault.write("sys/quotas/rate-limit/narrow", quota)


async def unlimit(scene: Chaos) -> None:
    await asyncio.to_thread(scene.vault.delete_blocking, "sys/quotas/rate-limit/narrow")


async def shown_to_operators(scene: Chaos, name: str) -> None:
    """`sds secret show`, which says why, and never the value."""
    shown = await scene.world.cli("secret", "show", name)
    assert shown.json["state"]["problem_code"] == "unavailable"
    assert shown.json["state"]["version"], "which one is in use"
    assert "canary-" not in shown.out


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        pytest.param(seal, unseal, id="sealed", marks=pytest.mark.slow),
        pytest.param(kill, start_and_unseal, id="killed"),
        pytest.param(revoke_token, restart_and_replace_token, id="restarted with a lost token", marks=pytest.mark.slow),
        pytest.param(slow, quick, id="slow network", marks=pytest.mark.slow),
        pytest.param(cut, quick, id="cut connections", marks=pytest.mark.slow),
    ],
)
async def test_an_outage_takes_nothing_and_loses_nothing(
    empty_world: World, vault_on_disk: VaultServer, break_it: Fault, mend_it: Fault
) -> None:
    """Streams go on, embedded secrets change, newcomers get the last good values, and what is written later arrives."""
    async with chaos(empty_world, vault_on_disk) as scene:
        await break_it(scene)
        await scene.until_code("unavailable", *scene.in_vault)
        await scene.write(EMBEDDED)
        await scene.all_hold()
        assert await scene.code(EMBEDDED) == ""
        await scene.newcomer_gets(scene.values)
        await shown_to_operators(scene, "one")
        assert [await scene.told(name) for name in scene.in_vault] == [[("secret.problem", "unavailable")]] * 4
        await mend_it(scene)
        await scene.write(*scene.names)
        await scene.all_hold()
        await scene.until_code("", *scene.names)
        await scene.until_told("unavailable", *scene.in_vault)
        assert await scene.told(EMBEDDED) == []
    secrets_stay_secret(scene)


async def test_who_is_limited_waits_and_the_others_do_not(empty_world: World, vault_on_disk: VaultServer) -> None:
    """429 for one engine: its secrets stay as they are, those of another go on changing."""
    async with chaos(empty_world, vault_on_disk) as scene:
        await limit(scene)
        await scene.until_code("unavailable", *scene.in_narrow)
        await scene.write("other", EMBEDDED)
        await scene.all_hold()
        assert {await scene.code(name) for name in ("other", EMBEDDED)} == {""}
        await scene.newcomer_gets(scene.values)
        await shown_to_operators(scene, "one")
        for name in scene.in_narrow:
            assert (await scene.told(name))[-1] == ("secret.problem", "unavailable")
        await unlimit(scene)
        await scene.write(*scene.names)
        await scene.all_hold()
        await scene.until_code("", *scene.names)
        for name in scene.in_narrow:
            assert (await scene.told(name))[-1] == ("secret.recovered", "unavailable")
        assert await scene.told("other") == [], "nothing was wrong with it"


async def test_a_slow_network_delays_and_connections_that_are_cut_are_made_anew(
    empty_world: World, vault_on_disk: VaultServer
) -> None:
    """Within what a request may take nothing is a problem; every change arrives."""
    async with chaos(empty_world, vault_on_disk) as scene:
        scene.relay.delay = 0.1
        await scene.write(*scene.names)
        await scene.all_hold()
        scene.relay.delay = 0.0
        for _ in range(3):
            connections = scene.relay.connections
            scene.relay.cut()
            await eventually(lambda before=connections: _more(scene, before), within=LONG)  # type: ignore[misc]
            await scene.write(*scene.names)
            await scene.all_hold()
        await scene.until_code("", *scene.names)


async def _more(scene: Chaos, before: int) -> bool:
    return scene.relay.connections > before


async def test_a_server_that_may_log_in_again_does_when_its_token_was_revoked(
    empty_world: World, vault_on_disk: VaultServer
) -> None:
    """AppRole: nobody has to do anything, and no operator is called."""
    async with chaos(empty_world, vault_on_disk, by_role=True) as scene:
        (first,) = await logins(scene)
        await scene.vault.write("auth/token/revoke-accessor", {"accessor": first})
        await scene.write(*scene.names)
        await scene.all_hold()
        assert await logins(scene) not in ([], [first])
        assert [await scene.told(name) for name in scene.names] == [[]] * len(scene.names)


async def logins(scene: Chaos) -> list[str]:
    """Accessors of the tokens that logging in with AppRole gave."""

    def look() -> list[str]:
        found = []
        for accessor in scene.vault.list_blocking("auth/token/accessors"):
            answer = scene.vault.call_blocking("auth/token/lookup-accessor", {"accessor": accessor})
            if answer.is_success and answer.json()["data"]["path"].endswith("/login"):
                found.append(accessor)
        return found

    return await asyncio.to_thread(look)


async def test_a_server_that_starts_while_vault_is_down(empty_world: World, vault_on_disk: VaultServer) -> None:
    """It serves what it has itself; its agent keeps the rest; an agent that starts, too, gets that when Vault is back."""
    async with chaos(empty_world, vault_on_disk) as scene:
        stack = scene.world.stack
        assert stack.server is not None
        assert stack.agent is not None
        await kill(scene)
        await stack.server.kill()
        await stack.start_server()
        await scene.write(EMBEDDED)
        await scene.all_hold()
        await scene.until_code("unavailable", *scene.in_vault)
        await scene.newcomer_gets(scene.values)
        scene.check()
        scene.sidecars.clear()  # their streams end with the agent
        await stack.agent.kill()
        await stack.start_agent()
        await scene.newcomer_gets({EMBEDDED: scene.values[EMBEDDED]})
        async with sidecar(scene.world, scene.names, EnvoyDelta) as late:
            scene.sidecars.append(late)
            await scene.all_hold(EMBEDDED)
            assert [late.told[name] for name in scene.in_vault] == [[]] * len(scene.in_vault)
            await start_and_unseal(scene)
            await scene.all_hold()
            await scene.write(*scene.names)
            await scene.all_hold()
            await scene.until_code("", *scene.names)
            scene.sidecars.clear()


def secrets_stay_secret(scene: Chaos) -> None:
    """No outage made anybody write a value down."""
    for log in scene.world.folder.glob("*.log"):
        assert "canary-" not in log.read_text()

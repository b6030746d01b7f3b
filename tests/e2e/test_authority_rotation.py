"""Authorities are replaced under constant traffic between real Envoys, and no request fails."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from typing import Any

import pytest

from sds.demo.process import Child
from sds.demo.stack import PROGRAM
from sds.demo.traffic import Tally
from tests.e2e.harness.cli import sds
from tests.e2e.harness.sds_client import channel, fetch, svid_of
from tests.e2e.harness.tls import context, presented
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import PYTHON, Pair, World, traffic
from tests.e2e.harness.world import world as new_world
from tests.e2e.test_rotation import unharmed
from tests.fakes.sds_clients import EnvoySotw

pytestmark = pytest.mark.e2e

QUICK_SERVER = {"SDS_SERVER_ROTATION__INTERVAL": "500ms", "SDS_SERVER_ROTATION__LEEWAY": "1s"}
QUICK_AGENT = {"SDS_AGENT_SVID__REPLACE_WITHIN": "3s", "SDS_AGENT_UPSTREAM__REPORT_INTERVAL": "200ms"}


@asynccontextmanager
async def running(server: dict[str, str], agent: dict[str, str]) -> AsyncIterator[World]:
    async with new_world(server_env=server, agent_env=agent) as made:
        await made.start()
        yield made


def issuers(world: World) -> dict[str, str]:
    """Which authority signed each certificate, by its hex serial without leading zeros."""
    database = world.folder / "server" / "sds.sqlite3"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return {
            serial.lstrip("0"): authority
            for serial, authority in connection.execute("SELECT serial, authority_id FROM certificates")
        }


def last_signed(world: World, authority: str) -> datetime:
    """When the last certificate below it was asked for."""
    database = world.folder / "server" / "sds.sqlite3"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        found = connection.execute("SELECT max(requested_at) FROM certificates WHERE authority_id = ?", (authority,))
        return datetime.fromtimestamp(found.fetchone()[0] / 1_000_000, UTC)


async def authorities(world: World, kind: str = "x509") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await world.cli("ca", "show", "--kind", kind)).json["authorities"]
    return found


async def active(world: World) -> str:
    (one,) = [each["id"] for each in await authorities(world) if each["state"] == "active"]
    return str(one)


async def below(world: World, pair: Pair) -> tuple[set[str], set[str]]:
    """The authorities that the two Envoys' own certificates are below."""
    front, back = [await envoy.admin.serials() for envoy in (pair.front, pair.back)]
    found = issuers(world)
    return ({found.get(s, "") for s in front} - {""}, {found.get(s, "") for s in back} - {""})


async def rotate(world: World, *more: str, within: float = 90.0) -> list[dict[str, Any]]:
    ran = await sds(
        "ca", "rotate", *more, "--admin-socket", str(world.stack.admin_socket), "--output", "json", within=within
    )
    return list(ran.ok().json_lines)


async def moved(world: World, pair: Pair, authority: str, *tallies: Tally) -> None:
    """Both Envoys' certificates are below this authority, and used."""

    async def all_below() -> bool:
        return await below(world, pair) == ({authority}, {authority})

    async def used() -> bool:
        front, back = [await envoy.admin.serials() for envoy in (pair.front, pair.back)]
        return all(front & set(t.client_serials) and back & set(t.server_serials) for t in tallies)

    await eventually(all_below, within=60, every=0.2)
    await eventually(used)


@pytest.mark.timeout(600)
async def test_three_generations_in_a_row_by_one_command_each_under_traffic() -> None:
    """Each time the two certificates are below different authorities for a while, and each side verifies the other."""
    async with running(QUICK_SERVER, QUICK_AGENT) as world:
        await world.entry("front", "--x509-ttl", "8s")
        back = await world.entry("back", "--x509-ttl", "10m")  # it follows when it is told to, not by itself
        pair = await world.pair()
        async with traffic(pair.url) as http1, traffic(pair.url, http2=True) as http2:
            signed = [await active(world)]
            for generation in range(3):
                events = await rotate(world)
                assert [event["event"] for event in events if event["event"] != "gate"] == [
                    "started", "prepared", "activated", "done",
                ]  # fmt: skip
                signed.append(await active(world))
                assert (events[-1]["authority_id"], events[-1]["replaced"]) == (signed[-1], signed[-2])

                async def apart() -> bool:
                    front, back = await below(world, pair)
                    return bool(front) and bool(back) and not front & back

                await eventually(apart, every=0.1)
                before = http1.requests
                await asyncio.sleep(1.0)
                assert http1.requests > before, "there is traffic while they differ"
                await world.rotate(back, generation)
                await moved(world, pair, signed[-1], http1, http2)
        await unharmed(pair, http1, http2)
        assert len(set(signed)) == 4
        found = issuers(world)
        for tally in (http1, http2):
            for serials in (tally.client_serials, tally.server_serials):
                assert {found[serial] for serial in serials} == set(signed), "every generation was in use on both sides"


@pytest.mark.timeout(300)
async def test_a_sidecar_that_rejects_or_ignores_the_new_bundle_closes_the_gate_and_is_named() -> None:
    async with running(QUICK_SERVER, QUICK_AGENT) as world:
        await world.own_entry()
        first = await active(world)
        roots: set[bytes] = set()

        def refuse_the_next(secret: Any) -> str | None:
            if secret.name == "ROOTCA":
                roots.add(secret.validation_context.trusted_ca.inline_bytes)
            return "no such authority is known here" if secret.name == "ROOTCA" and len(roots) > 1 else None

        async with channel(world.stack.sds_socket) as opened:
            async with EnvoySotw(opened, ["default", "ROOTCA"], judge=refuse_the_next) as client:
                await client.until_holds("default", "ROOTCA")
                flags = ("--admin-socket", str(world.stack.admin_socket), "--output", "json")
                late = await sds("ca", "rotate", "--timeout", "4s", *flags)
                assert late.status == 8, late.err
                gate = [event for event in late.json_lines if event["event"] == "gate"][-1]
                (straggler,) = gate["stragglers"]
                assert (straggler["pid"], straggler["path"]) == (os.getpid(), PYTHON)
                assert (straggler["why"], straggler["detail"]) == ("rejected", "no such authority is known here")
                assert straggler["spiffe_ids"] == [world.id("test")]
                refused = await sds("ca", "activate", *flags)
                assert refused.status == 8 and str(os.getpid()) in refused.err
                forced = await sds("ca", "activate", "--force", *flags)
                assert forced.status == 2 and str(os.getpid()) in forced.err, "nobody could be asked"
                assert await active(world) == first
            prepared = gate["authority_id"]
            events = await rotate(world)
            assert events[1]["resumed"] is True and events[1]["authority_id"] == prepared
            assert await active(world) == prepared


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_an_agent_that_is_away_closes_the_gate_and_what_waits_goes_on_when_it_is_back() -> None:
    async with running(QUICK_SERVER, QUICK_AGENT) as world:
        await world.entry("front")
        await world.entry("back")
        pair = await world.pair()
        async with traffic(pair.url) as http1:
            assert world.stack.agent is not None
            await world.stack.agent.stop()
            log = world.folder / "rotate.log"
            argv = [*PROGRAM, "ca", "rotate", "--admin-socket", str(world.stack.admin_socket), "--output", "json"]
            rotating = await Child.start("rotate", argv, log, os.environ)

            async def waits() -> bool:
                return '"event":"gate"' in log.read_text()

            await eventually(waits)
            assert world.stack.agent_id in log.read_text()
            assert world.stack.server is not None
            await world.stack.server.stop()  # the command outlives a restart of the server, too
            await world.stack.start_server()
            await world.stack.start_agent()

            async def done() -> bool:
                return '"event":"done"' in log.read_text()

            await eventually(done, within=60)
            await rotating.stop()
        assert '"event":"server-away"' in log.read_text()
        await unharmed(pair, http1)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_authorities_that_live_a_minute_rotate_by_schedule_under_traffic() -> None:
    server = QUICK_SERVER | {
        "SDS_SERVER_CA__TTL": "60s",
        "SDS_SERVER_CA__AGENT_TTL": "20s",
        "SDS_SERVER_CA__SERVER_TTL": "20s",
        "SDS_SERVER_CA__DEFAULT_X509_TTL": "10s",
        "SDS_SERVER_CA__MAX_X509_TTL": "10s",
        "SDS_SERVER_CA__BACKDATE": "2s",
    }
    async with running(server, QUICK_AGENT) as world:
        await world.entry("front")
        await world.entry("back")
        pair = await world.pair()
        seen: dict[str, None] = {}

        async def third() -> bool:
            found = await authorities(world)
            seen.update({one["id"]: None for one in found if one["state"] == "active"})
            return len(seen) >= 4

        async with traffic(pair.url) as http1, traffic(pair.url, http2=True) as http2:
            await eventually(third, within=240, every=1.0)
            await moved(world, pair, list(seen)[-1], http1, http2)
        await unharmed(pair, http1, http2)
        standing = {one["id"] for one in await authorities(world)}
        assert next(iter(seen)) not in standing, "dropped, once nothing below it was valid"
        events = (await world.cli("audit", "tail", "--action", "authority.activate", "--lines", "100")).json_lines
        x509 = [event["details"] for event in events if event["details"]["kind"] == "x509"]
        assert len(x509) >= 4 and not any(one["forced"] or one["past_deadline"] for one in x509[1:])
        assert all(one["gate"]["open"] and one["gate"]["total"] >= 3 for one in x509[1:])


@pytest.mark.timeout(300)
async def test_tainting_moves_everything_to_the_next_authority_under_traffic() -> None:
    async with running(QUICK_SERVER, QUICK_AGENT) as world:
        await world.entry("front")
        await world.entry("back")
        pair = await world.pair()
        first = await active(world)
        async with traffic(pair.url) as http1, traffic(pair.url, http2=True) as http2:
            await world.cli("ca", "taint", first, "--yes")

            async def next_one() -> str:
                found = [one["id"] for one in await authorities(world) if one["state"] == "active"]
                return next((one for one in found if one != first), "")

            second = await eventually(next_one)
            await moved(world, pair, second, http1, http2)

            async def own() -> bool:
                serial = (await world.agent_call("/v1/status")).json()["agent"]["serial"]
                return issuers(world).get(serial.lstrip("0")) == second

            await eventually(own)
        await unharmed(pair, http1, http2)
        (tainted,) = (await world.cli("audit", "tail", "--action", "authority.taint")).json_lines
        assert last_signed(world, first) <= datetime.fromisoformat(tainted["time"]), "it signs nothing any more"
        metrics = (await world.agent_call("/metrics")).text
        assert "sds_agent_svids_distrusted 0.0" in metrics


@pytest.mark.timeout(300)
async def test_revoking_the_active_authority_by_force_moves_a_connected_fleet_within_seconds() -> None:
    """New handshakes fail for a moment, for what both sides hold was taken back; then all is well without a hand."""
    async with running(QUICK_SERVER, QUICK_AGENT) as world:
        await world.entry("front")
        await world.entry("back")
        pair = await world.pair()
        first = await active(world)
        await world.cli("ca", "revoke", first, "--force", "--yes")
        second = await active(world)
        assert second != first

        async def all_below() -> bool:
            return await below(world, pair) == ({second}, {second})

        async def own() -> bool:
            status = (await world.agent_call("/v1/status")).json()
            serial = str(status["agent"]["serial"]).lstrip("0")
            return bool(status["server"]["connected"]) and issuers(world).get(serial) == second

        await eventually(all_below)
        await eventually(own)
        await asyncio.sleep(1.0)  # the pushes are taken
        async with traffic(pair.url) as http1:
            await asyncio.sleep(2.0)
        await unharmed(pair, http1)
        roots = (await world.stack.call("GET", "/v1/bundle?format=pem")).text
        assert roots.count("BEGIN CERTIFICATE") == 1


@pytest.mark.timeout(300)
async def test_who_knows_only_the_old_root_verifies_what_is_cross_signed() -> None:
    async with running(QUICK_SERVER, QUICK_AGENT) as world:
        await world.entry("front", "--x509-ttl", "8s")
        await world.entry("back", "--x509-ttl", "8s")
        await world.own_entry("front-too")
        pair = await world.pair()
        old_root = (await world.stack.call("GET", "/v1/bundle?format=pem")).text.encode()

        async def shown(root: bytes) -> str:
            """Under whom the back Envoy's certificate is, by a client that trusts `root` alone."""
            mine = svid_of(await fetch(world.stack.sds_socket, "default"))
            chain = world.folder / "client.pem"
            chain.write_bytes(mine.chain_pem + mine.key_pem)
            leaf = await presented(pair.back_port, context(root, chain))
            return issuers(world)[f"{leaf.serial_number:x}"]

        first = await active(world)
        assert await shown(old_root) == first
        events = await rotate(world, "--cross-sign")
        second = events[-1]["authority_id"]
        await moved(world, pair, second)
        assert await shown(old_root) == second
        await rotate(world)
        third = await active(world)
        await moved(world, pair, third)
        with pytest.raises(ssl.SSLError):
            await shown(old_root)

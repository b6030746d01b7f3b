"""Authorities below others, and beside older ones, as real Envoys see them."""

from __future__ import annotations

import base64
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ca.bundle import parse_pem, to_pem
from sds.demo.envoy_config import Config
from sds.demo.errors import DemoError
from sds.demo.ports import LOOPBACK, free_ports
from sds.demo.traffic import Tally, Traffic
from tests.e2e.harness.tls import context, presented
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import Pair, World, traffic
from tests.e2e.harness.world import world as new_world
from tests.fakes.ca import TRUST_DOMAIN
from tests.fakes.pki import Holder, make

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

UPSTREAM = "SDS_SERVER_CA__UPSTREAM__"


async def authorities(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await world.stack.call("GET", "/v1/authorities?kind=x509")).json()["authorities"]
    return found


async def roots(world: World) -> tuple[bytes, ...]:
    pem = (await world.stack.call("GET", "/v1/bundle?format=pem")).content
    return parse_pem(TRUST_DOMAIN, pem).x509_authorities


async def metric(world: World, name: str) -> float:
    text = (await world.stack.call("GET", "/metrics")).text
    return float(next(line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(name)))


async def activate_next(world: World, **how: bool) -> dict[str, Any]:
    """Prepare an authority, wait for its gate, have it sign."""
    coming = (await world.stack.call("POST", "/v1/authorities:prepare", {"kind": "x509"})).json()

    async def is_open() -> bool:
        return bool((await world.stack.call("GET", f"/v1/authorities/{coming['id']}")).json()["gate"]["open"])

    await eventually(is_open, within=30)
    active: dict[str, Any] = (await world.stack.call("POST", f"/v1/authorities/{coming['id']}:activate", how)).json()
    return active


async def answer(url: str) -> int:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        return (await client.get(url)).status_code


def unharmed(tally: Tally) -> None:
    assert tally.requests > 0
    assert tally.failed == 0, list(tally.failures)


# Nested


@asynccontextmanager
async def nested(upper: World) -> AsyncIterator[World]:
    """A server and its agent below `upper`'s server, which runs."""
    token, bundle = upper.folder / "downstream-token", upper.folder / "upstream.pem"
    await upper.cli("token", "create", "--downstream", "--token-file", str(token))
    bundle.write_bytes((await upper.stack.call("GET", "/v1/bundle?format=pem")).content)
    main, attest = (f"{LOOPBACK}:{port}" for port in upper.stack.ports)
    environment = {
        UPSTREAM + "PLUGIN": "sds",
        UPSTREAM + "SDS__SERVER": main,
        UPSTREAM + "SDS__ATTEST_SERVER": attest,
        UPSTREAM + "SDS__TRUST_BUNDLE": str(bundle),
        UPSTREAM + "SDS__JOIN_TOKEN_FILE": str(token),
        UPSTREAM + "SDS__BACKOFF_MAX": "1s",
    }
    async with new_world(server_env=environment) as lower:
        await lower.start()
        yield lower


async def across(client: World, server: World, client_name: str, server_name: str) -> Pair:
    """Two Envoys with identities of two servers."""
    port, back_port = free_ports(2)
    behind = await server.envoy(server_name, server.back_config(server_name, back_port, [client_name], server.source()))
    before = await client.envoy(
        client_name, client.front_config(client_name, port, back_port, [server_name], client.source())
    )
    return Pair(before, behind, f"http://{LOOPBACK}:{port}/", back_port)


async def test_envoys_of_nested_servers_talk_and_the_lower_goes_on_without_the_upper(empty_world: World) -> None:
    upper = empty_world
    await upper.start()
    async with nested(upper) as lower:
        for world, name in ((upper, "front"), (lower, "back"), (lower, "front2"), (upper, "back2")):
            await world.entry(name)
        down, up = await across(upper, lower, "front", "back"), await across(lower, upper, "front2", "back2")
        assert await roots(upper) == await roots(lower)
        async with traffic(down.url) as there, traffic(up.url) as back_again:
            entry = (await lower.stack.call("GET", f"/v1/entries?spiffe_id={lower.id('back')}")).json()["entries"][0]
            held = await down.back.admin.serials()
            assert upper.stack.server is not None
            await upper.stack.server.kill()

            async def degraded() -> bool:
                ready = (await lower.stack.call("GET", "/ready")).json()
                return ready["status"] == "degraded" and not ready["checks"]["upstream"]["ok"]

            await eventually(degraded)
            assert await metric(lower, 'sds_server_upstream_up{upstream="sds"}') == 0
            await lower.rotate(entry, 1)

            async def used() -> bool:
                new = await down.back.admin.serials() - held
                return bool(new) and new <= set(there.server_serials)

            await eventually(used)
            await upper.stack.start_server()

            async def well() -> bool:
                return await metric(lower, 'sds_server_upstream_up{upstream="sds"}') == 1

            await eventually(well, within=30)
        unharmed(there)
        unharmed(back_again)
        assert there.client_ids == {upper.id("front")}
        assert back_again.client_ids == {lower.id("front2")}


@pytest.mark.slow
async def test_the_upper_server_gets_a_new_root_and_no_request_fails(empty_world: World) -> None:
    """Published everywhere first: the gate above waits for the sidecars below."""
    upper = empty_world
    await upper.start()
    async with nested(upper) as lower:
        await upper.entry("front", "--x509-ttl", "10s")
        await lower.entry("back", "--x509-ttl", "10s")
        pair = await across(upper, lower, "front", "back")
        async with traffic(pair.url) as tally:
            first = await activate_next(upper)
            assert len(await roots(lower)) == 2
            second = await activate_next(lower)
            before = len(tally.client_serials), len(tally.server_serials)

            async def renewed() -> bool:
                return len(tally.client_serials) > before[0] and len(tally.server_serials) > before[1]

            await eventually(renewed, within=40)
        unharmed(tally)
        assert first["id"] != second["id"]


# Files


def issuer_below(root: Holder) -> Holder:
    return make(
        "issuing", root, before=root.certificate.not_valid_before_utc, after=root.certificate.not_valid_after_utc
    )


def company_root() -> Holder:
    now = datetime.now(UTC)
    return make("company root", before=now - timedelta(days=1), after=now + timedelta(days=365))


class Files:
    """What the operators of the company's authority put there."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key, self.bundle = (folder / name for name in ("ca.pem", "ca.key", "roots.pem"))

    def put(self, path: Path, content: bytes) -> None:
        """As careful operators do: a new file in the old one's place."""
        new = path.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_bytes(content)
        new.rename(path)

    def issue_with(self, issuer: Holder) -> None:
        self.put(self.certificate, issuer.pem)
        self.put(self.key, issuer.key_pem)

    @property
    def environment(self) -> dict[str, str]:
        return {
            UPSTREAM + "PLUGIN": "disk",
            UPSTREAM + "DISK__CERT_FILE": str(self.certificate),
            UPSTREAM + "DISK__KEY_FILE": str(self.key),
            UPSTREAM + "DISK__BUNDLE_FILE": str(self.bundle),
            UPSTREAM + "DISK__RELOAD_INTERVAL": "200ms",
        }


async def test_the_companys_authority_is_replaced_in_its_files_under_traffic(short_folder: Path) -> None:
    """First the new root into the bundle file, then the pair; nobody is restarted, and no request fails."""
    files, old, new = Files(short_folder), company_root(), company_root()
    files.issue_with(issuer_below(old))
    files.put(files.bundle, old.pem)
    async with new_world(server_env=files.environment) as world:
        await world.start()
        assert await roots(world) == (old.der,)
        entries = [await world.entry("front"), await world.entry("back")]
        pair = await world.pair()
        async with traffic(pair.url) as tally:
            files.put(files.bundle, old.pem + new.pem)

            async def both() -> bool:
                return await roots(world) == (old.der, new.der)

            await eventually(both)
            assert world.stack.server is not None
            pid = world.stack.server.pid
            new_issuer = issuer_below(new)
            files.put(files.certificate, new_issuer.pem)  # and nothing more for a while: half a pair

            async def alarmed() -> bool:
                return await metric(world, 'sds_server_upstream_up{upstream="disk"}') == 0

            await eventually(alarmed)
            assert (await world.stack.call("GET", "/ready")).json()["status"] == "degraded"
            files.put(files.key, new_issuer.key_pem)

            async def well() -> bool:
                return await metric(world, 'sds_server_upstream_up{upstream="disk"}') == 1

            await eventually(well)
            await activate_next(world)
            for number, entry in enumerate(entries):
                await world.rotate(entry, number)
            held = [set(tally.client_serials), set(tally.server_serials)]

            async def moved() -> bool:
                return not held[0] >= set(tally.client_serials) and not held[1] >= set(tally.server_serials)

            await eventually(moved)
        unharmed(tally)
        assert world.stack.server.pid == pid
        await presented(pair.back_port, context(new.pem))
        with pytest.raises(ssl.SSLError):
            await presented(pair.back_port, context(old.pem))


async def test_a_server_does_not_start_with_files_that_cannot_be_used_and_says_why(short_folder: Path) -> None:
    files, root = Files(short_folder), company_root()
    files.issue_with(issuer_below(root))
    files.put(files.bundle, company_root().pem)
    async with new_world(server_env=files.environment) as world:
        with pytest.raises(DemoError, match=r"ended with status 1(.|\n)*does not lead to a root"):
            await world.stack.start_server()


# Cross-signing


def trusting(config: Config, root: bytes, peer: str) -> Config:
    """The same front side with `root` alone, once and for all, as a relying party that is never told of anything."""
    (back,) = [one for one in config["static_resources"]["clusters"] if one["name"] == "back"]
    common = back["transport_socket"]["typed_config"]["common_tls_context"]
    del common["combined_validation_context"]
    common["validation_context"] = {
        "trusted_ca": {"inline_bytes": base64.b64encode(root).decode()},
        "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}],
    }
    return config


@pytest.mark.parametrize("cross_sign", [True, False])
async def test_who_knows_only_the_old_root_goes_on_when_the_new_authority_is_cross_signed(
    world: World, cross_sign: bool
) -> None:
    """A real Envoy with the old root in its configuration. Without cross-signing it cannot follow."""
    await world.entry("front")
    entry = await world.entry("back")
    old = (await world.stack.call("GET", "/v1/bundle?format=pem")).content
    port, back_port = free_ports(2)
    back = await world.envoy("back", world.back_config("back", back_port, ["front"], world.source()))
    config = trusting(world.front_config("front", port, back_port, ["back"], world.source()), old, world.id("back"))
    await world.envoy("front", config)
    url = f"http://{LOOPBACK}:{port}/"
    await eventually(lambda: _is(url, 200))
    await activate_next(world, cross_sign=cross_sign)
    held = await back.admin.serials()
    await world.rotate(entry, 1)

    async def pushed() -> bool:
        return not await back.admin.serials() & held

    await eventually(pushed)
    (new,) = {*await roots(world)} - {*parse_pem(TRUST_DOMAIN, old).x509_authorities}
    await presented(back_port, context(to_pem(new)))  # who knows only the new root is served in any case
    if cross_sign:
        tally = Tally()
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            started = time.monotonic()
            while time.monotonic() - started < 3:  # several connections: each lives half a second
                await Traffic(url, tally).once(client)
        unharmed(tally)
        await presented(back_port, context(old))
    else:
        await eventually(lambda: _is(url, 503))
        with pytest.raises(ssl.SSLError):
            await presented(back_port, context(old))


async def _is(url: str, status: int) -> bool:
    return await answer(url) == status

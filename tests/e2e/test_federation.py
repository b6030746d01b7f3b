"""Two real servers of two trust domains federate, and their Envoys talk mTLS across the border."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sds.demo.envoy_config import Back, Front, SdsProtocol, back, front
from sds.demo.ports import free_ports
from sds.demo.traffic import Tally
from tests.contract.public.pki import LOOPBACK, WebPki
from tests.e2e.harness.cli import Ran, sds
from tests.e2e.harness.http import one_request
from tests.e2e.harness.wait import eventually, stays
from tests.e2e.harness.world import Pair, World, traffic, world

pytestmark = pytest.mark.e2e

ONE, TWO = "one.example", "two.example"
QUICK = {
    "SDS_SERVER_CA__REFRESH_HINT": "2s",
    "SDS_SERVER_FEDERATION__MIN_INTERVAL": "1s",
    "SDS_SERVER_FEDERATION__RETRY": "1s",
    "SDS_SERVER_ROTATION__INTERVAL": "500ms",
    "SDS_SERVER_ROTATION__LEEWAY": "1s",
}
QUICK_AGENT = {"SDS_AGENT_UPSTREAM__REPORT_INTERVAL": "200ms"}


@dataclass(slots=True)
class Border:
    """Two worlds: `one` has the Envoy that calls, `two` the one that answers."""

    one: World
    two: World
    profile: str
    urls: dict[str, str]

    async def federate(self, here: World, other: World) -> dict[str, Any]:
        """`here` learns `other`'s bundle from its endpoint."""
        name = other.stack.trust_domain
        flags = ["--profile", self.profile, "--endpoint-url", self.urls[name]]
        if self.profile == "https_spiffe":
            first = here.folder / f"{name}.json"
            shown = await sds("bundle", "show", "--format", "spiffe", "--admin-socket", str(other.stack.admin_socket))
            first.write_text(shown.ok().out)
            flags += ["--endpoint-id", other.id("sds/server"), "--bundle", str(first)]
        added: dict[str, Any] = (await here.cli("federation", "add", name, *flags)).json
        assert added["problem"] == ""
        return added

    async def pair(self, one_trusts: str, two_trusts: str, protocol: SdsProtocol) -> Pair:
        """The two Envoys; each asks for the bundles by this name."""
        port, back_port = free_ports(2)
        server, client = self.two.id("back"), self.one.id("front")
        answers = Back(
            "back",
            str(self.two.folder / "back.sock"),
            back_port,
            [client],
            self.two.source(protocol, bundle=two_trusts),
            max_connection_duration=0.5,
        )
        behind = await self.two.envoy("back", back(answers))
        calls = Front(
            "front",
            str(self.one.folder / "front.sock"),
            port,
            back_port,
            [server],
            self.one.source(protocol, bundle=one_trusts),
        )
        before = await self.one.envoy("front", front(calls))
        return Pair(before, behind, f"http://{LOOPBACK}:{port}/", back_port)


def _endpoint(profile: str, port: int, folder: Path, pki: WebPki) -> dict[str, str]:
    keys = {"LISTEN": f"{LOOPBACK}:{port}", "PROFILE": profile, "PATH": "/bundle.json"}
    if profile == "https_web":
        cert_file, key_file = pki.issue().write(folder)
        keys |= {"CERT_FILE": str(cert_file), "KEY_FILE": str(key_file)}
    return {f"SDS_SERVER_ENDPOINTS__BUNDLE__{key}": value for key, value in keys.items()}


@asynccontextmanager
async def border(profile: str) -> AsyncIterator[Border]:
    """Both servers and agents run and serve their bundles; nobody knows the other yet."""
    pki, ports = WebPki(), free_ports(2)
    async with AsyncExitStack() as stack:
        worlds = []
        for name, port in zip((ONE, TWO), ports, strict=True):
            made = await stack.enter_async_context(world(trust_domain=name, agent_env=QUICK_AGENT))
            (made.folder / "roots.pem").write_bytes(pki.root_pem)
            made.stack.server_env = {
                **QUICK,
                **_endpoint(profile, port, made.folder, pki),
                "SDS_SERVER_FEDERATION__WEB_CA_FILE": str(made.folder / "roots.pem"),
            }
            await made.start()
            worlds.append(made)
        urls = {name: f"https://{LOOPBACK}:{port}/bundle.json" for name, port in zip((ONE, TWO), ports, strict=True)}
        yield Border(*worlds, profile, urls)


async def answered(pair: Pair) -> bool:
    """Whether a request over a new connection gets through."""
    return (await one_request(pair.url, Tally())).failed == 0


async def cut(pair: Pair) -> bool:
    return not await answered(pair)


def unharmed(tally: Tally) -> None:
    assert tally.requests > 0
    assert tally.failed == 0, list(tally.failures)


async def rotate(where: World) -> Ran:
    admin = str(where.stack.admin_socket)
    return (await sds("ca", "rotate", "--admin-socket", admin, "--output", "json", within=120)).ok()


@pytest.mark.slow_on("https_web")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("profile", "one_trusts", "two_trusts", "protocol"),
    [
        ("https_spiffe", "ALL", "ALL", SdsProtocol.SOTW),
        ("https_web", f"spiffe://{TWO}", f"spiffe://{ONE}", SdsProtocol.DELTA),
    ],
)
async def test_two_trust_domains(profile: str, one_trusts: str, two_trusts: str, protocol: SdsProtocol) -> None:
    """They federate, talk, survive a rotation on either side without one failed request, and part again."""
    async with border(profile) as scene:
        for here, other in ((scene.one, scene.two), (scene.two, scene.one)):
            added = await scene.federate(here, other)
            assert (added["x509_authorities"], added["profile"]) == (1, profile)
        await scene.one.entry("front", "--federates-with", TWO, "--x509-ttl", "10s")
        await scene.two.entry("back", "--federates-with", ONE, "--x509-ttl", "10s")
        pair = await scene.pair(one_trusts, two_trusts, protocol)
        async with traffic(pair.url) as tally:
            for rotating, other in ((scene.two, scene.one), (scene.one, scene.two)):
                before = set(tally.server_serials), set(tally.client_serials)
                await rotate(rotating)
                name = rotating.stack.trust_domain

                async def knows(name: str = name, other: World = other) -> bool:
                    """Both authorities, old and new, have come over."""
                    return (await other.cli("federation", "show", name)).json["x509_authorities"] >= 2

                await eventually(knows)

                async def renewed(before: tuple[set[str], set[str]] = before) -> bool:
                    """Certificates of the new authority are in use on both sides by now."""
                    return (
                        len(set(tally.server_serials) - before[0]) > 1
                        and len(set(tally.client_serials) - before[1]) > 1
                    )

                await eventually(renewed, within=60, every=0.2)
        unharmed(tally)
        assert tally.client_ids == {scene.one.id("front")}

        await scene.one.cli("federation", "delete", TWO, "--yes")
        await eventually(lambda: cut(pair))
        await stays(lambda: cut(pair), during=2)
        await scene.federate(scene.one, scene.two)
        await eventually(lambda: answered(pair))

        (entry,) = (await scene.two.cli("entry", "list")).json["entries"]
        await scene.two.cli("entry", "update", entry["id"], "--federates-with", "")
        await eventually(lambda: cut(pair))
        await stays(lambda: cut(pair), during=2)
        await scene.two.cli("entry", "update", entry["id"], "--federates-with", ONE)
        await eventually(lambda: answered(pair))
        for envoy in (pair.front, pair.back):
            envoy.child.check()
            assert sum((await envoy.admin.stats("sds[.].*[.]update_rejected")).values()) == 0


@pytest.mark.timeout(180)
async def test_the_other_side_is_away_and_comes_back() -> None:
    """Its server is down: what was had goes on; a lower sequence is not taken; by hand it is."""
    async with border("https_spiffe") as scene:
        for here, other in ((scene.one, scene.two), (scene.two, scene.one)):
            await scene.federate(here, other)
        await scene.one.entry("front", "--federates-with", TWO)
        await scene.two.entry("back", "--federates-with", ONE)
        pair = await scene.pair("ALL", "ALL", SdsProtocol.SOTW)
        assert await answered(pair)
        former = scene.two.stack.server
        assert former is not None
        await former.stop()

        async def failing() -> bool:
            return "cannot connect" in (await scene.one.cli("federation", "show", TWO)).json["problem"]

        await eventually(failing)
        assert await answered(pair)
        await scene.two.stack.start_server()

        async def well() -> bool:
            return (await scene.one.cli("federation", "show", TWO)).json["problem"] == ""

        await eventually(well)

        newer = (await scene.one.stack.call("GET", f"/v1/federations/{TWO}/bundle")).json()
        file = scene.one.folder / "newer.json"
        file.write_text(json.dumps(newer | {"spiffe_sequence": newer["spiffe_sequence"] + 100}))
        await scene.one.cli("bundle", "set", TWO, str(file))

        async def refused() -> bool:
            return "older than" in (await scene.one.cli("federation", "show", TWO)).json["problem"]

        await eventually(refused)
        events = (await sds("audit", "tail", "--action", "federation.", "--output", "json", "--admin-socket",
                            str(scene.one.stack.admin_socket))).ok().json_lines  # fmt: skip
        assert [event["outcome"] for event in events][-1] == "refused"
        assert await answered(pair)


@pytest.mark.timeout(120)
async def test_a_workload_without_the_relationship_is_not_believed() -> None:
    """Both servers federate, but only one workload's entry names the other trust domain."""
    async with border("https_spiffe") as scene:
        for here, other in ((scene.one, scene.two), (scene.two, scene.one)):
            await scene.federate(here, other)
        await scene.one.entry("front", "--federates-with", TWO)
        await scene.two.entry("back")
        pair = await scene.pair("ALL", "ALL", SdsProtocol.SOTW)
        await stays(lambda: cut(pair), during=2)


@pytest.mark.slow_on("ads-delta")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("protocol", [SdsProtocol.SOTW, SdsProtocol.ADS_DELTA])
async def test_a_relationship_that_ends_while_the_agent_is_away(protocol: SdsProtocol) -> None:
    """Envoy comes back with the bundle in hand and is told to trust nobody of that trust domain instead."""
    async with border("https_web") as scene:
        for here, other in ((scene.one, scene.two), (scene.two, scene.one)):
            await scene.federate(here, other)
        entry = await scene.one.entry("front", "--federates-with", TWO)
        await scene.two.entry("back", "--federates-with", ONE)
        pair = await scene.pair(f"spiffe://{TWO}", f"spiffe://{ONE}", protocol)
        assert await answered(pair)
        former = scene.one.stack.agent
        assert former is not None
        await former.stop()
        assert await answered(pair), "Envoy goes on with what it has"
        await scene.one.cli("entry", "update", entry["id"], "--federates-with", "")
        assert await answered(pair)
        await scene.one.stack.start_agent()
        await eventually(lambda: cut(pair))
        await stays(lambda: cut(pair), during=2)
        await scene.one.cli("entry", "update", entry["id"], "--federates-with", TWO)
        await eventually(lambda: answered(pair))
        for envoy in (pair.front, pair.back):
            assert sum((await envoy.admin.stats("sds[.].*[.]update_rejected")).values()) == 0

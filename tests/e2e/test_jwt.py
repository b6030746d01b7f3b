"""JWT-SVIDs from end to end: the standard's own client library, a real agent, a real server and its commands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from ca.jwk import from_base64url
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World
from tests.e2e.test_federation import ONE, border
from tests.e2e.test_workload_api import Client, client

pytestmark = pytest.mark.e2e


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, payload, _ = token.split(".")
    return json.loads(from_base64url(header)), json.loads(from_base64url(payload))


class Program:
    """The client process: what it is asked, what it answers, and which bundles it was told."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def ask(self, **question: Any) -> dict[str, Any]:
        await self.client.ask(json.dumps(question))
        return await self.client.until(lambda said: not {"bundles", "error"} & said.keys(), within=60)

    async def fetch(self, *audience: str, **more: Any) -> list[dict[str, Any]]:
        answer = await self.ask(fetch=list(audience), **more)
        assert "tokens" in answer, answer
        return list(answer["tokens"])

    async def keys(self) -> list[str]:
        """The keys of the newest bundle of our trust domain."""
        await self.fetch("any")  # so that every line before its answer has been read
        told = [said["bundles"] for said in self.client.said if "bundles" in said]
        return list(told[-1]["example.org"])


@asynccontextmanager
async def program(world: World) -> AsyncIterator[Program]:
    async with client(world, "jwt") as process:
        yield Program(process)


async def test_tokens_for_every_identity_or_one_and_both_sides_verify_them(world: World) -> None:
    await world.own_entry("web", "--hint", "default")
    async with program(world) as app:
        (token,) = await app.fetch("reports")
        assert (token["id"], token["audience"], token["verified"]) == (world.id("web"), ["reports"], True)
        header, claims = parts(token["token"])
        assert (header["alg"], header["typ"], header["kid"]) == ("ES256", "JWT", (await app.keys())[0])
        assert claims["exp"] - claims["iat"] == 300
        assert (await app.fetch("reports"))[0]["token"] == token["token"], "kept, not signed again"
        assert (await app.fetch("ledger"))[0]["token"] != token["token"]

        assert await app.ask(validate=token["token"], audience="reports") == {"valid": world.id("web")}
        assert "INVALID_ARGUMENT" in (await app.ask(validate=token["token"], audience="ledger"))["refused"]
        forged = token["token"][:-6] + "AAAAAA"
        assert "INVALID_ARGUMENT" in (await app.ask(validate=forged, audience="reports"))["refused"]

        await world.own_entry("db", "--hint", "db")
        await eventually(lambda: _ids(app, [world.id("web"), world.id("db")]))
        (only,) = await app.fetch("reports", id=world.id("db"))
        assert only["id"] == world.id("db")
        assert "PERMISSION_DENIED" in (await app.ask(fetch=["reports"], id=world.id("other")))["refused"]

    events = (await world.cli("audit", "tail", "--action", "token.issue")).json_lines
    assert {event["outcome"] for event in events} == {"success"}
    assert claims["jti"] in {event["target"]["id"] for event in events}


async def _ids(app: Program, wanted: list[str]) -> bool:
    return [token["id"] for token in await app.fetch("reports")] == wanted


async def test_an_outage_does_not_stop_tokens_before_they_expire(world: World) -> None:
    await world.own_entry("web")
    async with program(world) as app:
        (before,) = await app.fetch("reports")
        assert world.stack.server is not None
        await world.stack.server.kill()
        (during,) = await app.fetch("reports")
        assert during["token"] == before["token"]
        assert await app.ask(validate=before["token"], audience="reports") == {"valid": world.id("web")}
        assert "UNAVAILABLE" in (await app.ask(fetch=["never asked before"]))["refused"]
        await world.stack.start_server()

        async def served() -> bool:
            return "tokens" in await app.ask(fetch=["never asked before"])

        await eventually(served, within=60)


async def test_the_jwt_authority_rotates_and_no_token_is_refused_meanwhile(world: World) -> None:
    await world.own_entry("web")
    async with program(world) as app:
        (old,) = await app.fetch("reports")
        (key,) = await app.keys()
        prepared = (await world.stack.call("POST", "/v1/authorities:prepare", {"kind": "jwt"})).json()["id"]
        await eventually(lambda: _knows(app, {key, prepared}))
        await world.stack.call("POST", f"/v1/authorities/{prepared}:activate", {"force": True})

        async def by_the_new_one() -> bool:
            (token,) = await app.fetch("asked for after the rotation")
            assert token["verified"]
            return bool(parts(token["token"])[0]["kid"] == prepared)

        await eventually(by_the_new_one)
        assert await app.ask(validate=old["token"], audience="reports") == {"valid": world.id("web")}, "both count"

        await world.stack.call("POST", f"/v1/authorities/{key}:taint", {})

        async def replaced() -> bool:
            (token,) = await app.fetch("reports")
            return bool(parts(token["token"])[0]["kid"] == prepared)

        await eventually(replaced)
        await world.stack.call("POST", f"/v1/authorities/{key}:revoke", {})
        await eventually(lambda: _knows(app, {prepared}))
        assert "INVALID_ARGUMENT" in (await app.ask(validate=old["token"], audience="reports"))["refused"]
        told = [said["bundles"] for said in app.client.said if "bundles" in said]
        assert all(a != b for a, b in pairwise(told)), "nothing is told twice"


async def _knows(app: Program, keys: set[str]) -> bool:
    return set(await app.keys()) == keys


async def test_an_identity_that_goes_takes_its_tokens_along(world: World) -> None:
    entry = await world.own_entry("web")
    async with program(world) as app:
        (token,) = await app.fetch("reports")
        await world.cli("entry", "delete", entry["id"], "--yes")

        async def denied() -> bool:
            return "PERMISSION_DENIED" in (await app.ask(fetch=["reports"])).get("refused", "")

        await eventually(denied)
        refused = await app.ask(validate=token["token"], audience="reports")
        assert "PERMISSION_DENIED" in refused["refused"], "who is nobody validates nothing"


async def test_by_hand(world: World) -> None:
    entry = await world.own_entry("web", "--jwt-ttl", "2m")
    by_id = (await world.cli("jwt", "mint", "--spiffe-id", world.id("web"), "--audience", "reports")).json
    by_entry = (await world.cli("jwt", "mint", "--entry", entry["id"], "--audience", "reports", "--ttl", "1m")).json
    for minted, seconds in ((by_id, 300), (by_entry, 60)):
        claims = parts(minted["token"])[1]
        assert (claims["sub"], claims["exp"] - claims["iat"]) == (world.id("web"), seconds)
        found = (await world.cli("jwt", "verify", minted["token"], "--audience", "reports")).json
        assert found["claims"] == claims
    bundle = world.folder / "bundle.json"
    document = (await world.stack.call("GET", "/v1/bundle?format=spiffe")).text
    await asyncio.to_thread(bundle.write_text, document)
    offline = ("--bundle", str(bundle), "--trust-domain", "example.org")
    assert (await world.cli("jwt", "verify", by_id["token"], "--audience", "reports", *offline)).json == found | {
        "claims": parts(by_id["token"])[1], "expires_at": by_id["expires_at"]
    }  # fmt: skip
    async with program(world) as app:
        (token,) = await app.fetch("reports")
        claims = parts(token["token"])[1]
        assert claims["exp"] - claims["iat"] == 120, "the entry's own lifetime"
        assert await app.ask(validate=by_id["token"], audience="reports") == {"valid": world.id("web")}


@pytest.mark.timeout(300)
async def test_tokens_cross_the_border_to_who_federates_and_follow_the_other_sides_rotation() -> None:
    async with border("https_spiffe") as scene:
        await scene.federate(scene.two, scene.one)
        await scene.one.own_entry("caller")
        friend = await scene.two.own_entry("callee", "--federates-with", ONE)
        async with program(scene.one) as caller, program(scene.two) as callee:
            (token,) = await caller.fetch("callee")
            assert await callee.ask(validate=token["token"], audience="callee") == {"valid": scene.one.id("caller")}
            (theirs,) = await callee.fetch("caller")
            assert "INVALID_ARGUMENT" in (await caller.ask(validate=theirs["token"], audience="caller"))["refused"]

            prepared = (await scene.one.stack.call("POST", "/v1/authorities:prepare", {"kind": "jwt"})).json()["id"]

            async def told() -> bool:
                await callee.fetch("any")
                newest = [said["bundles"] for said in callee.client.said if "bundles" in said][-1]
                return prepared in newest.get(ONE, ())

            await eventually(told)
            await scene.one.stack.call("POST", f"/v1/authorities/{prepared}:activate", {"force": True})

            async def by_the_new_one() -> bool:
                (found,) = await caller.fetch("asked for after the rotation")
                kid = parts(found["token"])[0]["kid"]
                answer = await callee.ask(validate=found["token"], audience="asked for after the rotation")
                assert answer == {"valid": scene.one.id("caller")}
                return bool(kid == prepared)

            await eventually(by_the_new_one)
            assert await callee.ask(validate=token["token"], audience="callee") == {"valid": scene.one.id("caller")}

            await scene.two.cli("entry", "update", friend["id"], "--federates-with", "")

            async def a_stranger_again() -> bool:
                answer = await callee.ask(validate=token["token"], audience="callee")
                return "INVALID_ARGUMENT" in answer.get("refused", "")

            await eventually(a_stranger_again)

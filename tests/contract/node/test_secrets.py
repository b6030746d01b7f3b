"""Node.WatchSecrets: what entries are granted and nothing else, at once when it changes, and gone when it may be no more."""

from __future__ import annotations

import asyncio
from typing import Any

from attestation.spiffe_id import SpiffeId
from sds.secrets.judge import Limits
from tests.contract.node.harness import AGENT, DEADLINE, OTHER_AGENT, Node, running
from tests.contract.node.secret_kit import ABSENT, DB, WEB, Below, Labelled, Operator, Stream, delivered


async def test_a_granted_value_is_pushed_and_pushed_again_when_it_changes(node: Node) -> None:
    agent, operator = await node.attest(), Operator(node)
    entry = (await node.entry("/web"))["id"]
    secret = await operator.define("db-password", WEB)
    await operator.put(secret, b"canary-one")
    stream = Stream(node, agent)
    await stream.want((entry, "db-password"))
    update = await stream.until(entry, "db-password", b"canary-one")
    assert (update.value.kind, update.value.fields[0].name) == ("generic", "")
    assert "canary" not in update.value.version
    await operator.put(secret, b"canary-two")
    second = await stream.until(entry, "db-password", b"canary-two")
    assert second.value.version != update.value.version
    assert await delivered(node) == [
        {"name": "db-password", "version": "1", "spiffe_ids": [WEB]},
        {"name": "db-password", "version": "2", "spiffe_ids": [WEB]},
    ]
    await operator.pin(secret, 1)
    await stream.until(entry, "db-password", b"canary-one")
    await stream.nothing()


async def test_grants_that_come_and_go_under_a_live_stream(node: Node) -> None:
    agent, operator = await node.attest(), Operator(node)
    web, deep = (await node.entry("/web"))["id"], (await node.entry("/web/deep"))["id"]
    labelled = (await node.entry("/other", labels={"tier": "db"}))["id"]
    secret = await operator.define("s")
    await operator.put(secret, b"value")
    stream = Stream(node, agent)
    await stream.want((web, "s"), (deep, "s"), (labelled, "s"))
    for entry_id in (web, deep, labelled):
        await stream.until(entry_id, "s", ABSENT.REASON_NOT_GRANTED)
    below = await operator.grant(secret, Below(SpiffeId.parse(WEB)))
    await stream.until(web, "s", b"value")
    await stream.until(deep, "s", b"value")
    by_label = await operator.grant(secret, Labelled({"tier": "db"}))
    await stream.until(labelled, "s", b"value")
    await operator.revoke(below)
    await stream.until(web, "s", ABSENT.REASON_NOT_GRANTED)
    await stream.until(deep, "s", ABSENT.REASON_NOT_GRANTED)
    body = {"spiffe_id": "spiffe://example.org/other", "parent_id": AGENT, "selectors": ["unix:uid:1"], "revision": 1}
    await node.api("PUT", f"/v1/entries/{labelled}", body)
    await stream.until(labelled, "s", ABSENT.REASON_NOT_GRANTED)
    await operator.revoke(by_label)
    assert len(list(operator.engine.shelf.slots())) == 0, "what nobody may have leaves the server's memory"


async def test_what_goes_takes_the_value_along(node: Node) -> None:
    agent, operator = await node.attest(), Operator(node)
    one, two = (await node.entry("/web"))["id"], (await node.entry("/db"))["id"]
    secret, other = await operator.define("s", WEB, DB), await operator.define("other", WEB)
    await operator.put(secret, b"value")
    await operator.put(other, b"another")
    stream = Stream(node, agent)
    await stream.want((one, "s"), (two, "s"), (one, "other"))
    for entry_id, name, value in ((one, "s", b"value"), (two, "s", b"value"), (one, "other", b"another")):
        await stream.until(entry_id, name, value)
    await node.api("DELETE", f"/v1/entries/{two}")
    await stream.until(two, "s", ABSENT.REASON_NOT_GRANTED)
    await operator.delete(secret)
    await stream.until(one, "s", ABSENT.REASON_NOT_GRANTED)
    await node.api("POST", "/v1/revocations", {"kind": "entry", "value": one, "reason": "superseded", "dry_run": False})
    await stream.until(one, "other", ABSENT.REASON_NOT_GRANTED)
    assert not list(operator.engine.shelf.slots())


async def test_one_agent_never_gets_what_is_granted_to_another_s_entries(node: Node) -> None:
    agent, other = await node.attest(), await node.attest(OTHER_AGENT)
    operator = Operator(node)
    mine, theirs = (await node.entry("/web"))["id"], (await node.entry("/db", OTHER_AGENT))["id"]
    secret = await operator.define("s", DB)
    await operator.put(secret, b"theirs")
    stream, others = Stream(node, agent), Stream(node, other)
    await stream.want((mine, "s"), (theirs, "s"), ("no-such-entry", "s"), (mine, "no-such-secret"))
    await others.want((theirs, "s"))
    await others.until(theirs, "s", b"theirs")
    for entry_id, name in ((mine, "s"), (theirs, "s"), ("no-such-entry", "s"), (mine, "no-such-secret")):
        await stream.until(entry_id, name, ABSENT.REASON_NOT_GRANTED)
    await operator.put(secret, b"theirs-two")
    await others.until(theirs, "s", b"theirs-two")
    await stream.nothing()
    async with asyncio.timeout(DEADLINE):
        while len(refused := await node.events("secret.refused")) < 4:
            await asyncio.sleep(0.05)
    assert {(event["details"]["entry_id"], event["target"]["id"], event["reason"]) for event in refused} == {
        (mine, "s", "no grant covers this identity"),
        (theirs, "s", "no such entry for this agent"),
        ("no-such-entry", "s", "no such entry for this agent"),
        (mine, "no-such-secret", "there is no such secret"),
    }
    assert all(event["actor"]["id"] == AGENT for event in refused)
    assert {event["actor"]["id"] for event in await node.events("secret.deliver")} == {OTHER_AGENT}


async def test_a_bad_value_is_never_sent_and_holds_nothing_up() -> None:
    async with running(secrets__max_value_bytes="100") as node:
        agent, operator = await node.attest(), Operator(node)
        entry = (await node.entry("/web"))["id"]
        good, bad = await operator.define("good", WEB), await operator.define("bad", WEB)
        await operator.put(good, b"fine")
        await operator.put(bad, b"first")
        stream = Stream(node, agent)
        await stream.want((entry, "bad"), (entry, "good"), (entry, "empty"))
        await stream.until(entry, "bad", b"first")
        await stream.until(entry, "good", b"fine")
        await oversize(operator, bad)
        state = await problem_of(operator, bad.id)
        assert state.problem_code == "malformed"
        assert "100 bytes" in state.problem
        await operator.put(good, b"better")
        await stream.until(entry, "good", b"better")
        again = Stream(node, agent)
        await again.want((entry, "bad"))
        await again.until(entry, "bad", b"first")
        (event,) = await node.events("secret.problem")
        assert (event["details"]["code"], event["details"]["name"]) == ("malformed", "bad")
        await operator.put(bad, b"second")
        await stream.until(entry, "bad", b"second")
        await eventually(node, "secret.recovered")


async def oversize(operator: Operator, secret: Any) -> None:
    """What no rule of the admin API lets in: the limit was lowered since, or somebody else has written."""
    strict = operator.engine.values._limits
    operator.engine.values._limits = Limits()
    try:
        await operator.put(secret, b"x" * 101)
    finally:
        operator.engine.values._limits = strict


async def problem_of(operator: Operator, secret_id: str) -> Any:
    async with asyncio.timeout(DEADLINE):
        while not (state := await operator.engine.desk.state(secret_id)).problem_code:
            await asyncio.sleep(0.05)
    return state


async def eventually(node: Node, action: str) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE):
        while not (found := await node.events(action)):
            await asyncio.sleep(0.05)
    return found[-1]


async def test_a_value_that_never_came_is_told_and_comes_later(node: Node) -> None:
    agent, operator = await node.attest(), Operator(node)
    entry = (await node.entry("/web"))["id"]
    secret = await operator.define("s", WEB)
    stream = Stream(node, agent)
    await stream.want((entry, "s"))
    await stream.until(entry, "s", ABSENT.REASON_UNAVAILABLE)
    assert (await problem_of(operator, secret.id)).problem_code == "missing"
    await operator.put(secret, b"at last")
    await stream.until(entry, "s", b"at last")


async def test_what_is_held_is_not_sent_again(node: Node) -> None:
    agent, operator = await node.attest(), Operator(node)
    entry = (await node.entry("/web"))["id"]
    secret = await operator.define("s", WEB)
    await operator.put(secret, b"value")
    first = Stream(node, agent)
    await first.want((entry, "s"))
    version = (await first.until(entry, "s", b"value")).value.version
    first.call.cancel()
    second = Stream(node, agent)
    await second.want((entry, "s", version))
    await second.until(entry, "s", ABSENT.REASON_UNCHANGED)
    await operator.put(secret, b"new")
    await second.until(entry, "s", b"new")
    assert len(await delivered(node)) == 2
    await operator.delete(secret)
    await second.until(entry, "s", ABSENT.REASON_NOT_GRANTED)
    same_name = await operator.define("s", WEB)
    await operator.put(same_name, b"quite another")
    third = Stream(node, agent)
    await third.want((entry, "s", version))
    await third.until(entry, "s", b"quite another")


async def test_what_is_wanted_no_more_is_not_sent_and_leaves_memory(node: Node) -> None:
    agent, operator = await node.attest(), Operator(node)
    entry = (await node.entry("/web"))["id"]
    secret, other = await operator.define("s", WEB), await operator.define("t", WEB)
    await operator.put(secret, b"value")
    await operator.put(other, b"other")
    stream = Stream(node, agent)
    await stream.want((entry, "s"), (entry, "t"))
    await stream.until(entry, "s", b"value")
    await stream.until(entry, "t", b"other")
    await stream.say(unwanted=[(entry, "s")])
    await operator.put(secret, b"unseen")
    await operator.put(other, b"seen")
    await stream.until(entry, "t", b"seen")
    assert all(
        bytes(update.value.fields[0].value) != b"unseen" for update in stream.updates if update.HasField("value")
    )
    assert [slot.secret.name for slot in operator.engine.shelf.slots()] == ["t"]
    stream.call.cancel()
    async with asyncio.timeout(DEADLINE):
        while list(operator.engine.shelf.slots()):
            await asyncio.sleep(0.02)
    assert len(operator.engine.watches) == operator.engine.watches.wanted == 0

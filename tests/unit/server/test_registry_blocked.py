"""What is blocked vanishes from the registry, comes back, and is told to who resumes."""

from __future__ import annotations

import pytest

from attestation.spiffe_id import SpiffeId
from sds.server.facts import Refresh
from sds.server.revocation.blocked import Blocked
from sds.server.watch import Update
from sds.store.revocation.records import BlockKind
from tests.fakes.clock import EPOCH
from tests.unit.server.registry_kit import TD, A, B, entry, make

# Blocks

ONE = Blocked(frozenset({(BlockKind.ENTRY, "one")}))
IDENTITY = Blocked(frozenset({(BlockKind.SPIFFE_ID, str(SpiffeId(TD, "/two")))}))
OTHERS = Blocked(frozenset({(BlockKind.KEY, "one"), (BlockKind.AGENT, "one"), (BlockKind.ENTRY, "three")}))


@pytest.mark.parametrize(("blocked", "gone"), [(ONE, "one"), (IDENTITY, "two")])
async def test_what_is_blocked_vanishes_and_comes_back(blocked: Blocked, gone: str) -> None:
    registry = make(entry("one"), entry("two"), entry("theirs", B))
    watcher, theirs = (registry.watch(agent_id, 0, "", now=EPOCH) for agent_id in (A, B))
    watcher.take()
    theirs.take()
    registry.apply(Refresh(11, blocked=blocked), now=EPOCH)
    assert registry.entry(gone) is None
    assert watcher.take() == Update(11, "epoch", removed=(gone,))
    assert theirs.take() is None
    fresh = registry.watch(A, 0, "", now=EPOCH).take()
    assert fresh is not None
    assert gone not in {each.id for each in fresh.upserted}
    registry.apply(Refresh(12, {gone: entry(gone, revision=2)}), now=EPOCH)  # a change does not show it
    assert watcher.take() == Update(12, "epoch", removed=(gone,))
    registry.apply(Refresh(13, blocked=Blocked()), now=EPOCH)
    assert watcher.take() == Update(13, "epoch", upserted=(entry(gone, revision=2),))
    assert registry.entry(gone) == entry(gone, revision=2)


async def test_blocks_of_other_things_hide_no_entry() -> None:
    registry = make(entry("one"), entry("two"))
    watcher = registry.watch(A, 0, "", now=EPOCH)
    watcher.take()
    registry.apply(Refresh(11, blocked=OTHERS), now=EPOCH)
    assert watcher.take() is None
    assert registry.entry("one") == entry("one")


async def test_who_resumes_learns_of_blocks_and_of_their_lifting() -> None:
    registry = make(entry("one"), entry("two"))
    registry.apply(Refresh(11, blocked=ONE), now=EPOCH)
    away = registry.watch(A, 10, "epoch", now=EPOCH).take()
    assert away is not None
    assert (away.snapshot, away.removed, away.upserted) == (False, ("one",), ())
    registry.apply(Refresh(12, blocked=Blocked()), now=EPOCH)
    back = registry.watch(A, 11, "epoch", now=EPOCH).take()
    assert back is not None
    assert (back.snapshot, back.removed, back.upserted) == (False, (), (entry("one"),))


async def test_blocked_from_the_start() -> None:
    registry = make(entry("one"), entry("two"), blocked=ONE)
    update = registry.watch(A, 0, "", now=EPOCH).take()
    assert update is not None
    assert update.upserted == (entry("two"),)
    resumed = registry.watch(A, 10, "epoch", now=EPOCH).take()
    assert resumed is not None
    assert resumed.removed == ("one",)


async def test_agents_look_again_who_they_are_when_one_of_their_certificates_is_revoked() -> None:
    registry = make(entry("one"))
    watcher = registry.watch(A, 0, "", now=EPOCH)
    watcher.take()
    registry.apply(Refresh(11, blocked=Blocked(agent_serials=frozenset({"aa"}))), now=EPOCH)
    assert await watcher.wait(1)
    assert watcher.take() is None

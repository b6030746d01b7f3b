"""Bundles of other trust domains in the authorised state: each agent is told those that its own entries name."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import TrustBundle
from sds.server.facts import Facts, Refresh
from sds.server.registry import Registry
from sds.server.watch import Watcher
from tests.fakes.clock import EPOCH

TD = TrustDomain("example.org")
A, B = SpiffeId(TD, "/sds/agent/a"), SpiffeId(TD, "/sds/agent/b")
ONE, TWO, THREE = (TrustDomain(f"{name}.example") for name in ("one", "two", "three"))
OWN = TrustBundle(TD, (b"own",), 1)


def bundle(domain: TrustDomain, sequence: int = 1) -> TrustBundle:
    return TrustBundle(domain, (f"{domain}-{sequence}".encode(),), sequence)


def entry(name: str, *domains: TrustDomain, parent: SpiffeId = A, revision: int = 1) -> RegistrationEntry:
    spec = EntrySpec(SpiffeId(TD, f"/{name}"), parent, frozenset({Selector("unix", "uid:1")}), federates_with=domains)
    return RegistrationEntry(name, revision, EPOCH, EPOCH, spec)


def make(*entries: RegistrationEntry, held: tuple[TrustBundle, ...] = ()) -> Registry:
    federated = {each.trust_domain: each for each in held}
    return Registry(Facts("epoch", 10, entries, (), OWN, history_floor=10, federated=federated), now=EPOCH)


def told(watcher: Watcher) -> tuple[TrustBundle, ...] | None:
    update = watcher.take()
    return None if update is None else update.federated


def watch(registry: Registry, agent_id: SpiffeId = A) -> Watcher:
    watcher = registry.watch(agent_id, 0, "", now=EPOCH)
    watcher.take()
    return watcher


async def test_an_agent_is_told_the_bundles_that_its_entries_name_and_no_others() -> None:
    held = (bundle(ONE), bundle(TWO), bundle(THREE))
    registry = make(entry("x", TWO), entry("y", ONE, TWO), entry("z", THREE, parent=B), held=held)
    assert told(registry.watch(A, 0, "", now=EPOCH)) == (bundle(ONE), bundle(TWO))
    assert told(registry.watch(B, 0, "", now=EPOCH)) == (bundle(THREE),)
    assert told(registry.watch(A, 10, "epoch", now=EPOCH)) == (bundle(ONE), bundle(TWO)), "after a gap, all again"


async def test_a_changed_bundle_reaches_those_whom_it_concerns() -> None:
    registry = make(entry("x", ONE), entry("z", THREE, parent=B), held=(bundle(ONE), bundle(THREE)))
    a, b = watch(registry), watch(registry, B)
    registry.apply(Refresh(11, federated={ONE: bundle(ONE, 2)}), now=EPOCH)
    assert told(a) == (bundle(ONE, 2),)
    assert b.take() is None


async def test_a_relationship_that_ends_takes_its_bundle_away() -> None:
    registry = make(entry("x", ONE, TWO), held=(bundle(ONE), bundle(TWO)))
    watcher = watch(registry)
    registry.apply(Refresh(11, federated={ONE: None}), now=EPOCH)
    assert told(watcher) == (bundle(TWO),)
    registry.apply(Refresh(12, federated={TWO: None}), now=EPOCH)
    assert told(watcher) == ()


async def test_an_entry_that_names_others_now_changes_what_its_agent_is_told() -> None:
    registry = make(entry("x", ONE), held=(bundle(ONE), bundle(TWO)))
    watcher = watch(registry)
    registry.apply(Refresh(11, {"x": entry("x", TWO, revision=2)}), now=EPOCH)
    assert told(watcher) == (bundle(TWO),)
    registry.apply(Refresh(12, {"x": entry("x", TWO, revision=3)}), now=EPOCH)
    assert told(watcher) is None
    registry.apply(Refresh(13, {"x": None}), now=EPOCH)
    assert told(watcher) == ()


async def test_an_entry_that_moves_to_another_agent_takes_its_bundles_along() -> None:
    registry = make(entry("x", ONE), held=(bundle(ONE),))
    a, b = watch(registry), watch(registry, B)
    registry.apply(Refresh(11, {"x": entry("x", ONE, parent=B, revision=2)}), now=EPOCH)
    assert told(a) == ()
    assert told(b) == (bundle(ONE),)


async def test_an_empty_bundle_is_told() -> None:
    """All keys taken back: agents must learn it like any other change."""
    registry = make(entry("x", ONE), held=(bundle(ONE),))
    watcher = watch(registry)
    empty = TrustBundle(ONE, (), 2)
    registry.apply(Refresh(11, federated={ONE: empty}), now=EPOCH)
    assert told(watcher) == (empty,)


domains = st.sets(st.sampled_from([ONE, TWO, THREE])).map(lambda found: tuple(sorted(found)))
steps = st.one_of(
    st.tuples(st.just("bundle"), st.sampled_from([ONE, TWO, THREE]), st.integers(0, 3)),
    st.tuples(st.just("entry"), st.sampled_from(["x", "y"]), st.one_of(st.none(), domains), st.sampled_from([A, B])),
    st.tuples(st.just("read"), st.booleans()),
)


@settings(deadline=timedelta(seconds=2))
@given(st.lists(steps, max_size=30))
async def test_who_applies_what_he_is_sent_has_what_he_should_have(history) -> None:
    registry = make()
    watchers = {agent: watch(registry, agent) for agent in (A, B)}
    has: dict[SpiffeId, tuple[TrustBundle, ...]] = {A: (), B: ()}
    held: dict[TrustDomain, TrustBundle] = {}
    entries: dict[str, RegistrationEntry] = {}

    def read(agent: SpiffeId) -> None:
        update = watchers[agent].take()
        if update is not None and update.federated is not None:
            has[agent] = update.federated

    for revision, step in enumerate(history, start=11):
        match step:
            case ("bundle", domain, sequence):
                new = bundle(domain, sequence) if sequence else None
                held = {k: v for k, v in held.items() if k != domain} | ({domain: new} if new else {})
                registry.apply(Refresh(revision, federated={domain: new}), now=EPOCH)
            case ("entry", name, named, parent):
                made = None if named is None else entry(name, *named, parent=parent, revision=revision)
                entries = {k: v for k, v in entries.items() if k != name} | ({name: made} if made else {})
                registry.apply(Refresh(revision, {name: made}), now=EPOCH)
            case ("read", first):
                read(A if first else B)
    for agent in (A, B):
        read(agent)
        named = {d for each in entries.values() if each.parent_id == agent for d in each.spec.federates_with}
        assert has[agent] == tuple(held[d] for d in sorted(named) if d in held)


async def test_loading_everything_again_tells_all_of_them() -> None:
    registry = make(entry("x", ONE), held=(bundle(ONE),))
    watcher = watch(registry)
    facts = Facts("epoch", 12, (entry("x", ONE),), (), OWN, history_floor=12)
    registry.reload(replace(facts, federated={ONE: bundle(ONE, 9)}), now=EPOCH)
    assert told(watcher) == (bundle(ONE, 9),)

"""Bundles of other trust domains in the agent: each workload sees those that its own entries federate with."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import TrustDomain
from ca.bundle import JwtKey, TrustBundle
from ca.keys import KeyType, generate, spki_der
from sds._pb.sds.node.v1 import node_pb2
from sds.agent import convert
from sds.agent.cache import Cache
from sds.agent.cache.group import Group
from sds.delivery.resource import SpiffeValidator
from tests.fakes.ca import make_authority
from tests.fakes.clock import FakeClock
from tests.unit.agent.cache_kit import FakeMember
from tests.unit.agent.entries import AGENT, TRUST_DOMAIN, bundle, entry, selectors, svid

ONE, TWO, THREE = (TrustDomain(f"{name}.example") for name in ("one", "two", "three"))
JWT = JwtKey("k", spki_der(generate(KeyType.ECDSA_P256).public_key()))


def foreign(domain: TrustDomain, sequence: int = 1, *, empty: bool = False) -> TrustBundle:
    return TrustBundle(domain, () if empty else (f"{domain}-{sequence}".encode(),), sequence, jwt_keys=(JWT,))


def federating(name: str, *domains: TrustDomain, uid: int = 1000, revision: int = 1) -> RegistrationEntry:
    made = entry(name, f"unix:uid:{uid}", revision=revision)
    return replace(made, spec=replace(made.spec, federates_with=domains))


@pytest.fixture
def cache() -> Cache:
    made = Cache(FakeClock(), nobody=b"nobody")
    made.apply((), snapshot=True, bundle=bundle(), federated=())
    return made


def add(cache: Cache, *entries: RegistrationEntry, federated: tuple[TrustBundle, ...] | None = None) -> None:
    cache.apply(entries, federated=federated)
    cache.put({each.id: svid(each) for each in entries})


def join(cache: Cache, uid: int = 1000) -> tuple[Group, FakeMember]:
    member = FakeMember(uid)
    return cache.join(selectors(f"unix:uid:{uid}"), member), member


def seen(group: Group) -> dict[str, bytes]:
    """The bundles in a view, by trust domain; the same by every way there is to ask."""
    view = group.view
    assert view.bundles is not None
    found = {each.trust_domain.name: each.pem for each in view.bundles.federated if each.pem}
    everything = view.resolve("ALL")
    assert everything is not None
    assert isinstance(everything.content, SpiffeValidator)
    assert dict(everything.content.bundles) == {TRUST_DOMAIN.name: view.bundles.own.pem, **found}
    named = {name for name in view.names if name.startswith("spiffe://") and name.count("/") == 2}
    assert named == {f"spiffe://{name}" for name in (TRUST_DOMAIN.name, *found)}
    return found


def test_a_workload_sees_the_bundles_of_its_own_entries_and_no_others(cache: Cache) -> None:
    held = (foreign(ONE), foreign(TWO), foreign(THREE))
    add(
        cache,
        federating("a", ONE),
        federating("b", ONE, TWO, uid=2000),
        federating("c", uid=3000),
        federated=held,
    )
    assert seen(join(cache)[0]).keys() == {"one.example"}
    assert seen(join(cache, 2000)[0]).keys() == {"one.example", "two.example"}
    assert seen(join(cache, 3000)[0]).keys() == set()


def test_two_entries_of_one_workload_add_up(cache: Cache) -> None:
    add(cache, federating("a", ONE), federating("b", TWO), federated=(foreign(ONE), foreign(TWO)))
    assert seen(join(cache)[0]).keys() == {"one.example", "two.example"}


def test_a_changed_bundle_wakes_who_has_it_and_nobody_else(cache: Cache) -> None:
    add(cache, federating("a", ONE), federating("c", TWO, uid=3000), federated=(foreign(ONE), foreign(TWO)))
    group, member = join(cache)
    other, bystander = join(cache, 3000)
    before = other.view
    cache.apply((), federated=(foreign(ONE, 2), foreign(TWO)))
    assert seen(group) == {"one.example": foreign(ONE, 2).pem()}
    assert (member.wakes, bystander.wakes) == (1, 0)
    assert other.view is before
    cache.apply((), federated=(foreign(ONE, 2), foreign(TWO)))
    assert member.wakes == 1


def test_the_end_of_a_relationship_takes_the_bundle_away(cache: Cache) -> None:
    add(cache, federating("a", ONE, TWO), federated=(foreign(ONE), foreign(TWO)))
    group, member = join(cache)
    cache.apply((), federated=(foreign(TWO),))
    assert seen(group).keys() == {"two.example"}
    assert member.wakes == 1
    gone = group.view.withdrawn("spiffe://one.example")
    assert gone is not None
    assert gone.content.pem == b"nobody"


def test_an_entry_that_names_another_domain_changes_the_view_without_a_new_certificate(cache: Cache) -> None:
    add(cache, federating("a", ONE), federated=(foreign(ONE), foreign(TWO)))
    group, member = join(cache)
    certificate = group.view.resolve("default")
    cache.apply([federating("a", TWO, revision=2)])
    assert seen(group).keys() == {"two.example"}
    assert member.wakes == 1
    assert group.view.resolve("default").version == certificate.version


def test_an_emptied_bundle_trusts_nobody(cache: Cache) -> None:
    """Trust Domain and Bundle 4.1.3: all SVIDs of the trust domain are invalid. Its JWT keys may still be there."""
    add(cache, federating("a", ONE), federated=(foreign(ONE),))
    group, _ = join(cache)
    cache.apply((), federated=(foreign(ONE, 2, empty=True),))
    assert seen(group) == {}
    assert group.view.bundles.federated[0].jwks


def test_what_is_unchanged_keeps_its_version(cache: Cache) -> None:
    """Our own bundle and one foreign one change: the other one is not sent again."""
    add(cache, federating("a", ONE, TWO), federated=(foreign(ONE), foreign(TWO)))
    group, _ = join(cache)
    before = group.view.resolve("spiffe://two.example")
    cache.apply((), bundle=bundle(2), federated=(foreign(ONE, 2), foreign(TWO)))
    assert group.view.resolve("spiffe://two.example").version == before.version


def test_many_sets_of_domains_do_not_pile_up(cache: Cache) -> None:
    domains = [TrustDomain(f"d{number}.example") for number in range(200)]
    cache.apply((), federated=tuple(map(foreign, domains)))
    join(cache)
    for number, domain in enumerate(domains):
        add(cache, federating("a", domain, revision=number + 1))
    assert len(cache._views._trusts) < 40


# From the wire


def message(*bundles: TrustBundle, snapshot: bool = False) -> node_pb2.WatchAuthorizedResponse:
    made = [
        node_pb2.Bundle(
            trust_domain=each.trust_domain.name, x509_authorities=each.x509_authorities, sequence=each.sequence
        )
        for each in bundles
    ]
    return node_pb2.WatchAuthorizedResponse(federated=node_pb2.FederatedBundles(bundles=made), snapshot=snapshot)


def real(domain: TrustDomain) -> TrustBundle:
    return TrustBundle(domain, (make_authority(domain).authority.certificate,), 3)


def test_absent_is_unchanged_and_none_is_none() -> None:
    assert convert.update(node_pb2.WatchAuthorizedResponse(), AGENT).federated is None
    assert convert.update(message(), AGENT).federated == ()


def test_foreign_bundles_may_be_empty_and_ours_is_never_among_them() -> None:
    one, empty = real(ONE), TrustBundle(TWO, (), 4)
    update = convert.update(message(one, empty, real(TRUST_DOMAIN)), AGENT)
    assert update.federated == (one, empty)
    assert update.rejected == ("our own trust domain among the federated ones",)


def test_one_that_is_not_understood_counts_as_missing() -> None:
    bad = TrustBundle(TWO, (b"no certificate",), 1)
    update = convert.update(message(bad, real(ONE)), AGENT)
    assert [each.trust_domain for each in update.federated] == [ONE]
    assert "cannot be used" in update.rejected[0]


names = st.sampled_from([ONE, TWO, THREE])
sets = st.sets(names).map(lambda found: tuple(sorted(found)))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("held"), st.dictionaries(names, st.integers(1, 3))),
            st.tuples(st.just("entry"), st.sampled_from(["a", "b"]), st.one_of(st.none(), sets)),
            st.tuples(st.just("own"), st.integers(1, 5)),
        ),
        max_size=25,
    )
)
def test_any_history_shows_exactly_what_the_entries_name(history) -> None:
    cache = Cache(FakeClock())
    cache.apply((), snapshot=True, bundle=bundle(), federated=())
    group, _ = join(cache)
    held: dict[TrustDomain, int] = {}
    entries: dict[str, RegistrationEntry] = {}
    for revision, step in enumerate(history, start=1):
        match step:
            case ("held", new):
                held = new
                cache.apply((), federated=tuple(foreign(domain, n) for domain, n in sorted(held.items())))
            case ("entry", name, None):
                entries.pop(name, None)
                cache.apply((), [name])
            case ("entry", name, domains):
                entries[name] = federating(name, *domains, revision=revision)
                add(cache, entries[name])
            case ("own", sequence):
                cache.apply((), bundle=bundle(sequence))
        if entries:
            named = {domain for each in entries.values() for domain in each.spec.federates_with}
            assert seen(group) == {d.name: foreign(d, held[d]).pem() for d in named if d in held}
        else:
            assert not group.view

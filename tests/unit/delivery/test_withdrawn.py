"""A trust domain's bundle that a client holds and may not have any more: it is told to trust nobody instead."""

from __future__ import annotations

import pytest

from attestation.spiffe_id import TrustDomain
from sds.delivery.decode import decode_delta, decode_sotw
from sds.delivery.messages import NOT_GRANTED, DeltaRequest, Node, Refused, SotwRequest
from sds.delivery.resource import Resource, SpiffeValidator, TrustedCa
from sds.delivery.stream import DeltaStream, SotwStream
from sds.delivery.view import EMPTY, WAITING, DomainBundle, Trust, View
from tests.fakes.playbook import Ask, Playbook, Push, Sent, ack, acked
from tests.fakes.secrets import DOMAIN, bundle, identity
from tests.unit.delivery.test_wire import xds

OTHER = TrustDomain("other.example")
NAME = str(OTHER.id)
NOBODY = b"-----BEGIN CERTIFICATE-----\nnobody\n"
STREAMS = [SotwStream, DeltaStream]


def view(*federated: DomainBundle, own: int = 1, nobody: bytes = NOBODY) -> View:
    return View.build([identity()], Trust.build(bundle(own), federated, nobody=nobody))


FEDERATED, ALONE = view(bundle(1, OTHER)), view()


def of(source: View, name: str = NAME) -> Resource:
    found = source.resolve(name)
    assert found is not None
    return found


def withdrawn(source: View = ALONE, *, spiffe_validator: bool = False) -> Resource:
    found = source.withdrawn(NAME, spiffe_validator=spiffe_validator)
    assert found is not None
    return found


def play(kind: type[SotwStream | DeltaStream], source: View) -> Playbook:
    return Playbook(kind(nonce_prefix="s."), source)


@pytest.mark.parametrize("kind", STREAMS)
def test_a_bundle_that_was_sent_is_replaced_and_comes_back(kind: type[SotwStream | DeltaStream]) -> None:
    """Envoy keeps what it has when a name is removed, so removal alone would go on trusting the other trust domain."""
    given, closed = of(FEDERATED), withdrawn()
    again = view(bundle(2, OTHER))
    assert (
        play(kind, FEDERATED)
        >> Ask.of(NAME)
        << Sent.of(given)
        >> ack(NAME)
        << acked(given)
        >> Push(ALONE)
        << Refused(NAME, NOT_GRANTED)
        << Sent.of(closed)
        >> ack(NAME)
        << acked(closed)
        >> Push(view(own=2))
        >> Push(again)
        << Sent.of(of(again))
    )


@pytest.mark.parametrize("kind", STREAMS)
def test_who_never_had_it_is_not_answered_so(kind: type[SotwStream | DeltaStream]) -> None:
    script = play(kind, ALONE) >> Ask.of(NAME) << Refused(NAME, NOT_GRANTED)
    if kind is DeltaStream:
        script = script << Sent(NAME, "")
    assert script >> Push(view(own=2))


def test_who_comes_back_with_something_in_hand_is() -> None:
    """The agent was restarted, or the entry changed while nobody was connected."""
    request = SotwRequest((NAME,), holds=True)
    assert play(SotwStream, ALONE) >> request << Refused(NAME, NOT_GRANTED) << Sent.of(withdrawn())
    delta = DeltaRequest((NAME, "spiffe://third.example"), holds=frozenset({NAME}))
    assert (
        play(DeltaStream, ALONE)
        >> delta
        << Refused(NAME, NOT_GRANTED)
        << Refused("spiffe://third.example", NOT_GRANTED)
        << Sent.of(withdrawn())
        << Sent("spiffe://third.example", "")
    )


def test_what_a_client_holds_shows_in_its_request() -> None:
    sotw = xds.DiscoveryRequest(resource_names=[NAME], version_info="v1")
    assert decode_sotw(sotw.SerializeToString()).holds
    for other in (
        xds.DiscoveryRequest(resource_names=[NAME]),
        xds.DiscoveryRequest(resource_names=[NAME], version_info="v1", response_nonce="n"),
    ):
        assert not decode_sotw(other.SerializeToString()).holds
    delta = xds.DeltaDiscoveryRequest(resource_names_subscribe=[NAME], initial_resource_versions={NAME: "v1"})
    assert decode_delta(delta.SerializeToString()).holds == {NAME}


@pytest.mark.parametrize("name", ["default", "ROOTCA", "spiffe://other.example/web", "db-password", "spiffe://", "ALL"])
def test_only_bundles_of_trust_domains_are_replaced(name: str) -> None:
    assert ALONE.withdrawn(name) is None


def test_it_trusts_one_authority_that_is_nobodys_and_has_the_clients_form() -> None:
    plain, validator = withdrawn().content, withdrawn(spiffe_validator=True).content
    assert isinstance(plain, TrustedCa)
    assert plain.pem == NOBODY
    assert isinstance(validator, SpiffeValidator)
    assert validator.bundles == ((OTHER.name, NOBODY),)


def test_without_an_identity_nothing_is_said() -> None:
    assert EMPTY.withdrawn(NAME) is None
    given = of(FEDERATED)
    script = play(SotwStream, FEDERATED) >> Ask.of(NAME) << Sent.of(given) >> Push(EMPTY)
    assert script << Refused(NAME, "no entry matches the caller")


def test_a_certificate_that_is_not_there_is_not_taken_for_an_entry_that_is_not() -> None:
    """Who reads the log looks for the server then, and not for selectors."""
    given = of(FEDERATED)
    script = play(SotwStream, FEDERATED) >> Ask.of(NAME) << Sent.of(given) >> Push(WAITING)
    assert script << Refused(NAME, "an entry matches the caller, but there is no certificate for it that is valid now")
    assert not WAITING and WAITING.withdrawn(NAME) is None


def test_the_spiffe_validator_of_all_loses_the_domain() -> None:
    node = Node(spiffe_validator=True)
    before, after = of(FEDERATED, "ALL"), of(ALONE, "ALL")
    assert [name for name, _ in before.content.bundles] == [DOMAIN.name, OTHER.name]
    assert [name for name, _ in after.content.bundles] == [DOMAIN.name]
    assert play(SotwStream, FEDERATED) >> Ask.of("ALL", node=node) << Sent.of(before) >> Push(ALONE) << Sent.of(after)


def test_a_bundle_of_jwt_keys_alone_names_no_context_but_is_there() -> None:
    """For the Workload API; no certificate of that trust domain is trusted."""
    keys = DomainBundle(OTHER, b"", jwks=b'{"keys":[]}')
    source = view(keys)
    assert source.resolve(NAME) is None
    assert source.bundles is not None
    assert source.bundles.federated == (keys,)

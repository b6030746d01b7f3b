"""Which of our bundles a client is known to have: what the gate of a rotation looks at. CRLs on their way to it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.spiffe_id import TrustDomain
from ca.bundle import to_pem
from sds._pb.spiffe.workload import workload_pb2
from sds.delivery.encode import encode_secret
from sds.delivery.messages import NOT_GRANTED, DeltaRequest, Nacked, Reaffirmed, Refused, SotwRequest
from sds.delivery.registry import LiveStream, StreamRegistry
from sds.delivery.resource import Resource, SpiffeValidator, TrustedCa, make_resource
from sds.delivery.stream import DeltaStream, SotwStream
from sds.delivery.view import EMPTY, DomainBundle, Trust, View
from sds.delivery.workload_messages import Message, Part, WorkloadEncoder
from sds.delivery.workload_session import Holding
from tests.fakes.clock import FakeClock
from tests.fakes.delivery import FakeCaller
from tests.fakes.playbook import Ask, Playbook, Push, Sent, Stalled, ack, acked, nack
from tests.fakes.secrets import DOMAIN, WEB, bundle, identity, view
from tests.fakes.workload_api import AUTHORITY, domain_bundle, holder
from tests.fakes.workload_api import identity as svid

FIVE, SIX = view(ca=5, sequence=5), view(ca=6, sequence=6)
KINDS = pytest.mark.parametrize("kind", [SotwStream, DeltaStream])
Kind = type[SotwStream | DeltaStream]


def root(source: View, name: str = "ROOTCA") -> Resource:
    resource = source.resolve(name)
    assert resource is not None
    return resource


def play(kind: Kind, source: View = FIVE) -> Playbook:
    return Playbook(kind(nonce_prefix="s."), source)


def sequences(script: Playbook, name: str = "ROOTCA") -> tuple[int, int]:
    assert script
    slot = next(slot for slot in script.stream.slots if slot.name == name)
    return slot.sent_sequence, slot.acked_sequence


def taken(kind: Kind) -> Playbook:
    """A client that has FIVE's bundle."""
    return play(kind) >> Ask.of("ROOTCA") << Sent.of(root(FIVE)) >> ack("ROOTCA") << acked(root(FIVE))


@KINDS
def test_an_ack_counts_for_the_sequence_that_was_sent(kind: Kind) -> None:
    script = play(kind) >> Ask.of("ROOTCA") << Sent.of(root(FIVE))
    assert sequences(script) == (5, 0)
    script = script >> ack("ROOTCA") << acked(root(FIVE))
    assert sequences(script) == (5, 5)
    script = script >> Push(SIX) << Sent.of(root(SIX))
    assert sequences(script) == (6, 5), "sent is not taken"
    assert sequences(script >> ack("ROOTCA") << acked(root(SIX))) == (6, 6)


@KINDS
def test_the_same_content_under_a_newer_sequence_is_not_sent_and_counts(kind: Kind) -> None:
    later = view(ca=5, sequence=9)
    script = taken(kind) >> Push(later) << Reaffirmed("ROOTCA", root(FIVE).version, 9)
    assert sequences(script) == (9, 9)
    assert script >> Push(view(ca=5, sequence=9)), "told once"


@KINDS
def test_what_was_not_acked_does_not_count_for_a_newer_sequence_either(kind: Kind) -> None:
    later = view(ca=5, sequence=9)
    script = play(kind) >> Ask.of("ROOTCA") << Sent.of(root(FIVE)) >> Push(later)
    script = script << Reaffirmed("ROOTCA", root(FIVE).version, 9)
    assert sequences(script) == (9, 0)
    assert sequences(script >> ack("ROOTCA") << acked(root(FIVE))) == (9, 9)


@KINDS
def test_a_rejected_bundle_keeps_counting_for_what_was_taken_before(kind: Kind) -> None:
    script = taken(kind) >> Push(SIX) << Sent.of(root(SIX))
    script = script >> nack("ROOTCA", "bad") << Nacked("ROOTCA", root(SIX).version, "bad")
    script = script >> Push(view(ca=6, sequence=7)) << Reaffirmed("ROOTCA", root(SIX).version, 7)
    assert sequences(script) == (7, 5), "the rejected content is told to be current; the client has the older one"
    back = view(ca=5, sequence=8)
    script = script >> Push(back) << Reaffirmed("ROOTCA", root(FIVE).version, 8) << Sent.of(root(back))
    assert sequences(script) == (8, 8)


@KINDS
def test_a_change_that_is_taken_back_before_it_was_read(kind: Kind) -> None:
    script = taken(kind) >> Stalled(Push(SIX))
    script = script >> Push(view(ca=5, sequence=7)) << Reaffirmed("ROOTCA", root(FIVE).version, 7)
    assert sequences(script) == (7, 7)


@KINDS
def test_a_restored_server_counts_from_lower_numbers(kind: Kind) -> None:
    script = taken(kind) >> Push(view(ca=5, sequence=2)) << Reaffirmed("ROOTCA", root(FIVE).version, 2)
    assert sequences(script) == (2, 2)


@KINDS
def test_certificates_have_no_sequence(kind: Kind) -> None:
    script = play(kind) >> Ask.of("default") << Sent.of(root(FIVE, "default")) >> ack("default")
    script = script << acked(root(FIVE, "default")) >> Push(SIX)
    assert sequences(script, "default") == (0, 0)


def test_a_bundle_that_is_gone_was_of_no_sequence() -> None:
    without = View.build([identity()], Trust.build(DomainBundle(DOMAIN, b"")))
    script = taken(DeltaStream) >> Push(without) << Refused("ROOTCA", NOT_GRANTED) << Sent("ROOTCA")
    assert sequences(script) == (0, 5)


# Any order: what is told to be taken is what an ACK was given for, or has the same content


@dataclass
class Client:
    """Takes everything that comes, says to each response what it is told to, in any order with the pushes."""

    core: SotwStream | DeltaStream
    has: str = ""

    def answer(self, error: str | None, now: View) -> None:
        for slot in self.core.slots:
            if slot.nonce:
                if error is None and not slot.answered:
                    self.has = slot.sent_version
                if isinstance(self.core, SotwStream):
                    self.core.receive(SotwRequest(("ROOTCA",), slot.nonce, error), now, 1.0)
                else:
                    self.core.receive(DeltaRequest((), (), slot.nonce, error), now, 1.0)


steps = st.lists(
    st.one_of(
        st.builds(lambda ca, crl: (ca, crl), st.integers(1, 3), st.integers(0, 2)),
        st.sampled_from(["read", "ack", "nack", "ask"]),
    ),
    max_size=30,
)


@KINDS
@settings(max_examples=150, deadline=None)
@given(script=steps)
def test_in_any_order_a_client_counts_for_a_sequence_only_with_its_content(kind: Kind, script: list[object]) -> None:
    core, sequence = kind(nonce_prefix="s."), 1
    now = view(sequence=sequence)
    contents = {sequence: root(now).version}
    client = Client(core)
    for step in ["ask", *script]:
        if isinstance(step, tuple):
            sequence += 1
            now = view(ca=step[0], crl=step[1], sequence=sequence)
            contents[sequence] = root(now).version
            core.offer(now)
        elif step == "read":
            core.take(1.0)
        elif step == "ask":
            if isinstance(core, SotwStream):
                core.receive(SotwRequest(("ROOTCA",)), now, 1.0)
            else:
                core.receive(DeltaRequest(("ROOTCA",)), now, 1.0)
        else:
            client.answer("no" if step == "nack" else None, now)
        (slot,) = core.slots
        assert slot.acked_version == client.has
        assert contents.get(slot.acked_sequence, "") == client.has
        assert contents.get(slot.sent_sequence, "") == slot.sent_version
        if client.has == contents[sequence]:
            assert slot.acked_sequence == sequence, "whoever has today's content never holds up a rotation"


# Out: reports, CRLs, and the Workload API


def test_a_report_says_both_sequences() -> None:
    clock = FakeClock()
    registry, core = StreamRegistry("run", clock), SotwStream(nonce_prefix="s.")
    registry.add(LiveStream("run-1", "sotw", FakeCaller(FIVE), core, clock.monotonic()))
    core.receive(SotwRequest(("ROOTCA",)), FIVE, 1.0)
    send = core.take(1.0)
    assert send is not None
    core.receive(SotwRequest(("ROOTCA",), send.nonce), FIVE, 2.0)
    core.offer(SIX)
    core.take(3.0)
    (resource,) = registry.snapshot()[0].resources
    assert (resource.sent_sequence, resource.acked_sequence) == (6, 5)


def test_only_what_holds_our_own_bundle_has_its_sequence() -> None:
    foreign = bundle(1, TrustDomain("partner.test"), sequence=77)
    trust = Trust.build(bundle(4, sequence=4), [foreign])
    for names in (trust.plain, trust.spiffe):
        found = {name: resource.sequence for name, resource in names.items()}
        assert found == {"ROOTCA": 4, "spiffe://example.org": 4, "spiffe://partner.test": 0, "ALL": 4}
    assert make_resource("x", TrustedCa(b"pem"), 3).renamed("y").sequence == 3


def test_crls_are_in_the_plain_context_and_checked_for_leaves_alone() -> None:
    context = Secret.FromString(encode_secret("ROOTCA", TrustedCa(b"pem", b"crl"))).validation_context
    assert (context.trusted_ca.inline_bytes, context.crl.inline_bytes) == (b"pem", b"crl")
    assert context.only_verify_leaf_cert_crl
    without = Secret.FromString(encode_secret("ROOTCA", TrustedCa(b"pem"))).validation_context
    assert not without.HasField("crl") and not without.only_verify_leaf_cert_crl


def test_a_new_crl_is_a_new_version_of_the_plain_context_alone() -> None:
    before, after = view(crl=1), view(crl=2)
    assert len({root(before).version, root(after).version, root(view()).version}) == 3
    for name in ("ALL", str(WEB)):
        assert root(before, name).version == root(after, name).version
    spiffe = before.resolve("ROOTCA", spiffe_validator=True)
    assert spiffe is not None and isinstance(spiffe.content, SpiffeValidator), "it takes no CRLs"
    assert make_resource("r", TrustedCa(b"a", b"b")).version != make_resource("r", TrustedCa(b"ab")).version


def test_the_workload_api_has_our_crls_in_both_messages() -> None:
    own = domain_bundle(AUTHORITY)
    crls = b"".join(to_pem(der, "X509 CRL") for der in (b"\x30\x00first", b"\x30\x00second"))
    trust = Trust.build(DomainBundle(own.trust_domain, own.pem, crls, 7))
    seen = View.build([svid(holder())], trust)
    encoder = WorkloadEncoder()
    svids, bundles = encoder.svids(seen), encoder.bundles(seen)
    assert svids is not None and bundles is not None
    response = workload_pb2.X509SVIDResponse.FromString(svids.payload)
    assert list(response.crl) == [b"\x30\x00first", b"\x30\x00second"]
    assert list(workload_pb2.X509BundlesResponse.FromString(bundles.payload).crl) == list(response.crl)
    assert {part.name: part.sequence for part in svids.parts} == {str(WEB): 0, "spiffe://example.org": 7}


def test_a_workload_api_stream_is_told_nothing_twice_and_counts_for_the_newer_sequence() -> None:
    holding = Holding()

    def message(sequence: int) -> Message:
        return Message(b"", b"1", (Part("web", "1"), Part("td", "1", sequence=sequence)))

    holding.take(message(3), 1.0)
    assert [slot.sent_sequence for slot in holding.slots] == [0, 3]
    assert not holding.news(message(4))
    assert holding.reaffirm(message(4)) == [Part("td", "1", sequence=4)]
    assert holding.reaffirm(message(4)) == []
    assert [slot.sent_sequence for slot in holding.slots] == [0, 4]
    assert holding.take(Message(b"", b"2", (Part("td", "2", sequence=5),)), 2.0)
    assert [(slot.sent_version, slot.sent_sequence, slot.acked_sequence) for slot in holding.slots] == [("2", 5, 0)]


def test_a_view_without_identity_has_no_bundle_to_count() -> None:
    core = SotwStream(nonce_prefix="s.")
    core.receive(SotwRequest(("ROOTCA",)), EMPTY, 1.0)
    assert [(slot.sent_sequence, slot.acked_sequence) for slot in core.slots] == [(0, 0)]

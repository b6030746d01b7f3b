"""Delta: names once, versions each, and a word for what is not there."""

from __future__ import annotations

import pytest

from sds.delivery.errors import InvalidRequest, LimitExceeded
from sds.delivery.messages import (
    NO_IDENTITY,
    NOT_GRANTED,
    OTHER_TYPE,
    STALE_NONCE,
    Acked,
    DeltaRequest,
    Ignored,
    Nacked,
    Node,
    Refused,
)
from sds.delivery.resource import Resource
from sds.delivery.stream import DeltaStream
from sds.delivery.subscription import Limits
from sds.delivery.view import EMPTY, View
from tests.fakes.playbook import ROUND_TRIP, Answer, Ask, Flush, Playbook, Push, Sent, Stalled, ack, acked, nack
from tests.fakes.secrets import DB, WEB, view

V1, V2, V3 = view(1), view(2), view(3)


def of(source: View, name: str, *, spiffe_validator: bool = False) -> Resource:
    resource = source.resolve(name, spiffe_validator=spiffe_validator)
    assert resource is not None
    return resource


def sent(source: View, name: str, *, spiffe_validator: bool = False) -> Sent:
    return Sent.of(of(source, name, spiffe_validator=spiffe_validator))


def removed(name: str) -> Sent:
    return Sent(name)


def play(source: View = V1, **options: object) -> Playbook:
    return Playbook(DeltaStream(nonce_prefix="d.", **options), source)  # type: ignore[arg-type]


DEFAULT, ROOT = of(V1, "default"), of(V1, "ROOTCA")


def test_subscribe_ack_rotate():
    script = play() >> Ask.of("default", "ROOTCA") << sent(V1, "default") << sent(V1, "ROOTCA")
    script = script >> ack("default") << Acked("default", DEFAULT.version, ROUND_TRIP) >> ack("ROOTCA") << acked(ROOT)
    assert script >> Push(V1) >> Push(V2) << sent(V2, "default") >> ack("default") << acked(of(V2, "default"))


def test_every_subscription_is_answered_though_it_is_current():
    script = play() >> Ask.of("default") << sent(V1, "default") >> ack("default") << acked(DEFAULT)
    assert script >> Ask.of("default") << sent(V1, "default")


def test_a_nack_is_never_answered_with_the_same_bytes():
    script = play() >> Ask.of("default") << sent(V1, "default")
    script = script >> nack("default", "bad") << Nacked("default", DEFAULT.version, "bad") >> Push(V1)
    assert script >> Push(V2) << sent(V2, "default") >> Push(V1)


def test_an_unknown_name_is_answered_at_once_and_sent_when_it_appears():
    script = play() >> Ask.of(str(DB), "default") << Refused(str(DB), NOT_GRANTED)
    script = script << removed(str(DB)) << sent(V1, "default") >> Push(V1)
    both = view(ids=(WEB, DB))
    assert script >> Push(both) << sent(both, str(DB))


def test_asking_again_for_an_unknown_name_is_answered_again_but_counted_once():
    script = play() >> Ask.of("nope") << Refused("nope", NOT_GRANTED) << removed("nope")
    assert script >> Ask.of("nope") << removed("nope")


def test_the_wildcard_is_an_unknown_name():
    assert play() >> Ask.of("*") << Refused("*", NOT_GRANTED) << removed("*")


def test_an_empty_subscription_is_nothing():
    assert play() >> Ask.of() >> Push(V2)


def test_a_name_that_vanishes_is_removed_once_and_comes_back_in_full():
    script = play() >> Ask.of("default") << sent(V1, "default") >> ack("default") << acked(DEFAULT)
    script = script >> Push(EMPTY) << Refused("default", NO_IDENTITY) << removed("default") >> Push(EMPTY)
    script = script >> ack("default") << Acked("default", "", ROUND_TRIP * 2)
    assert script >> Push(V1) << sent(V1, "default")


def test_an_old_envoy_that_rejects_the_removal_is_heard():
    script = play() >> Ask.of("nope") << Refused("nope", NOT_GRANTED) << removed("nope")
    assert script >> nack("nope", "Missing SDS resources") << Nacked("nope", "", "Missing SDS resources") >> Push(V2)


def test_the_names_of_pilot_agent_are_answered_without_an_alarm():
    assert play() >> Ask.of("file-root:system") << removed("file-root:system") >> Push(EMPTY)


def test_unsubscribed_names_get_nothing_more():
    script = play() >> Ask.of("default", "ROOTCA") << sent(V1, "default") << sent(V1, "ROOTCA")
    script = script >> DeltaRequest(unsubscribe=("default", "never asked for"))
    assert script >> Push(V2)
    assert script.stream.wanted == ("ROOTCA",)


def test_unsubscribing_in_an_ack():
    script = play() >> Ask.of("default") << sent(V1, "default")
    assert script >> Answer("default", unsubscribe=("default",)) << acked(DEFAULT) >> Push(V2)


def test_a_name_in_both_lists_is_subscribed():
    assert play() >> DeltaRequest(("default",), ("default",)) << sent(V1, "default")


def test_a_stale_nonce_acknowledges_nothing_but_its_subscriptions_count():
    script = play() >> Ask.of("default", "ROOTCA") << sent(V1, "default") << sent(V1, "ROOTCA")
    old = script.nonces["default"]
    script = script >> Push(V2) << sent(V2, "default")
    late = Answer(nonce=old, subscribe=(str(WEB),), unsubscribe=("ROOTCA",))
    script = script >> late << Ignored(STALE_NONCE) << sent(V2, str(WEB))
    assert script.stream.wanted == ("default", str(WEB))
    assert script.stream.slots[0].acked_version == ""


def test_a_first_request_with_a_nonce_of_an_older_stream_is_answered():
    assert play() >> DeltaRequest(("default",), nonce="c.7") << Ignored(STALE_NONCE) << sent(V1, "default")


def test_a_slow_reader_gets_only_the_newest_even_through_a_removal():
    script = play() >> Ask.of("default") << sent(V1, "default") >> ack("default") << acked(DEFAULT)
    script = script >> Stalled(Push(V2)) >> Stalled(Push(EMPTY)) << Refused("default", NO_IDENTITY)
    assert script >> Stalled(Push(V1)) >> Flush(), "it still holds the first one"
    assert script >> Stalled(Push(EMPTY)) << Refused("default", NO_IDENTITY) >> Flush() << removed("default")
    assert script >> Stalled(Push(V2)) >> Stalled(Push(V3)) >> Flush() << sent(V3, "default")


def test_types_nodes_and_limits_are_as_in_state_of_the_world():
    script = play(typeless=False, limits=Limits(names=2, name_length=20))
    script = script >> DeltaRequest(("x",), type_url="type.googleapis.com/x", node=Node("n", True))
    script = script << Ignored(OTHER_TYPE) >> DeltaRequest(("x",), type_url="") << Ignored(OTHER_TYPE)
    script = script >> Ask.of("ROOTCA") << sent(V1, "ROOTCA", spiffe_validator=True)
    script = script >> DeltaRequest(("default",), node=Node("n", False)) << sent(V1, "ROOTCA") << sent(V1, "default")
    script = script >> DeltaRequest(("ALL",), ("default",)) << sent(V1, "ALL")
    with pytest.raises(LimitExceeded):
        script >> Ask.of("one more")
    with pytest.raises(InvalidRequest):
        script >> Ask.of("x" * 21)

"""State of the world: how Envoy and MOSN ask, acknowledge, and change their minds."""

from __future__ import annotations

import pytest

from sds.delivery.errors import InvalidRequest, LimitExceeded
from sds.delivery.messages import (
    NO_IDENTITY,
    NOT_GRANTED,
    OTHER_TYPE,
    STALE_NONCE,
    Acked,
    Ignored,
    Nacked,
    Node,
    Refused,
    SotwRequest,
)
from sds.delivery.resource import Resource
from sds.delivery.stream import SotwStream
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


def play(source: View = V1, **options: object) -> Playbook:
    return Playbook(SotwStream(nonce_prefix="s.", **options), source)  # type: ignore[arg-type]


DEFAULT, ROOT = of(V1, "default"), of(V1, "ROOTCA")


def test_a_first_request_is_answered_and_its_ack_is_seen_with_the_time_it_took():
    assert (
        play()
        >> Ask.of("default")
        << sent(V1, "default")
        >> ack("default")
        << Acked("default", DEFAULT.version, ROUND_TRIP)
    )


def test_each_name_is_a_response_of_its_own():
    assert (
        play()
        >> Ask.of("default", "ROOTCA", str(WEB))
        << sent(V1, "default")
        << sent(V1, "ROOTCA")
        << sent(V1, str(WEB))
    )


def test_an_ack_and_an_unchanged_view_send_nothing():
    assert (
        play()
        >> Ask.of("default")
        << sent(V1, "default")
        >> ack("default")
        << acked(DEFAULT)
        >> Push(V1)
        >> Push(view(1))
    )


def test_a_rotation_sends_only_what_changed():
    script = play() >> Ask.of("default", "ROOTCA") << sent(V1, "default") << sent(V1, "ROOTCA")
    assert script >> Push(V2) << sent(V2, "default") >> Push(view(2, ca=2)) << sent(view(2, ca=2), "ROOTCA")


def test_acks_of_responses_in_flight_count_for_their_own_names():
    script = play() >> Ask.of("default", "ROOTCA") << sent(V1, "default") << sent(V1, "ROOTCA")
    script = script >> ack("default", "default", "ROOTCA") << acked(DEFAULT)
    assert script >> ack("ROOTCA", "default", "ROOTCA") << acked(ROOT)


def test_a_nack_is_reported_once_and_the_same_bytes_never_come_back():
    script = play() >> Ask.of("default") << sent(V1, "default")
    script = script >> nack("default", "no key", "default") << Nacked("default", DEFAULT.version, "no key")
    script = script >> Push(V1) >> Push(view(1)) >> Push(V2) << sent(V2, "default")
    script = script >> ack("default") << acked(of(V2, "default"))
    assert script >> Push(V1) >> Push(V3) << sent(V3, "default"), "the view fell back to what was rejected: not again"


def test_after_a_nack_a_repeated_nonce_without_error_is_no_ack():
    script = play() >> Ask.of("default") << sent(V1, "default")
    script = script >> nack("default", "bad", "default") << Nacked("default", DEFAULT.version, "bad")
    assert script >> ack("default", "default", "ROOTCA") << sent(V1, "ROOTCA")
    slot = script.stream.slots[0]
    assert (slot.acked_version, slot.nacked_version) == ("", DEFAULT.version)


def test_a_repeated_ack_is_told_once_but_a_nack_may_follow_an_ack():
    script = play() >> Ask.of("default") << sent(V1, "default") >> ack("default") << acked(DEFAULT) >> ack("default")
    assert script >> nack("default", "after all") << Nacked("default", DEFAULT.version, "after all")


def test_a_version_without_error_detail_is_an_ack_whatever_version_it_names():
    """`decode` does not even read version_info: a NACK shows by error_detail alone."""
    assert not hasattr(SotwRequest(), "version")


# Names


def test_a_current_nonce_replaces_the_list():
    script = play() >> Ask.of("default", "ROOTCA") << sent(V1, "default") << sent(V1, "ROOTCA")
    script = script >> ack("ROOTCA", "ROOTCA", str(WEB)) << acked(ROOT) << sent(V1, str(WEB))
    assert script.stream.wanted == ("ROOTCA", str(WEB))
    assert script >> Push(V2) << sent(V2, str(WEB)), "default was dropped"


def test_a_name_dropped_and_asked_for_again_is_answered_though_unchanged():
    script = play() >> Ask.of("default", "ROOTCA") << sent(V1, "default") << sent(V1, "ROOTCA")
    script = script >> ack("ROOTCA", "ROOTCA") << acked(ROOT)
    assert script >> ack("ROOTCA", "ROOTCA", "default") << sent(V1, "default")


def test_the_newest_nonce_stays_good_for_changes_after_its_name_was_dropped():
    script = play() >> Ask.of("default", "ROOTCA") << sent(V1, "default") << sent(V1, "ROOTCA")
    newest = script.nonces["ROOTCA"]
    script = script >> Answer(nonce=newest, names=("default",)) << acked(ROOT)
    assert script >> Answer(nonce=newest, names=(str(WEB),)) << sent(V1, str(WEB))
    assert script.stream.wanted == (str(WEB),)


def test_an_empty_list_never_means_everything():
    script = play() >> Ask.of() >> Ask.of("default") << sent(V1, "default")
    script = script >> Answer("default", ()) << acked(DEFAULT)
    assert script >> Push(V2)
    assert script.stream.wanted == ()


def test_duplicates_are_answered_once():
    assert play() >> Ask.of("default", "default") << sent(V1, "default")


def test_an_empty_nonce_adds_and_answers_again():
    script = play() >> Ask.of("default") << sent(V1, "default") >> Ask.of("ROOTCA") << sent(V1, "ROOTCA")
    script = script >> Ask.of("default") << sent(V1, "default")
    assert set(script.stream.wanted) == {"default", "ROOTCA"}


def test_asking_again_after_a_nack_is_answered():
    script = play() >> Ask.of("default") << sent(V1, "default")
    script = script >> nack("default", "bad") << Nacked("default", DEFAULT.version, "bad")
    assert script >> Ask.of("default") << sent(V1, "default")


# Nonces


def test_a_stale_nonce_acknowledges_nothing_and_drops_nothing_but_its_names_are_added():
    script = play() >> Ask.of("default") << sent(V1, "default")
    old = script.nonces["default"]
    script = script >> Push(V2) << sent(V2, "default")
    script = script >> Answer(nonce=old, names=("ROOTCA",)) << Ignored(STALE_NONCE) << sent(V1, "ROOTCA")
    assert set(script.stream.wanted) == {"default", "ROOTCA"}
    assert script >> ack("default", "default", "ROOTCA") << acked(of(V2, "default"))


def test_a_stale_nack_is_no_nack_of_the_newer_version():
    script = play() >> Ask.of("default") << sent(V1, "default")
    old = script.nonces["default"]
    script = script >> Push(V2) << sent(V2, "default")
    assert script >> Answer(nonce=old, names=("default",), error="old") << Ignored(STALE_NONCE)
    assert script.stream.slots[0].nacked_version == ""


@pytest.mark.parametrize("nonce", ["other.1", "s.1", "s.", "s.-1", "s.x", "\x00", "1" * 5000, "s.²"])
def test_a_first_request_with_a_nonce_of_an_older_stream_is_answered(nonce: str):
    request = SotwRequest(("default",), nonce)
    assert play() >> request << Ignored(STALE_NONCE) << sent(V1, "default")


def test_nonces_of_two_streams_never_meet():
    first, second = SotwStream(nonce_prefix="a."), SotwStream(nonce_prefix="b.")
    nonces = set()
    for stream in (first, second):
        stream.receive(SotwRequest(("default", "ROOTCA")), V1, 1.0)
        while send := stream.take(1.0):
            nonces.add(send.nonce)
    assert len(nonces) == 4


# What cannot be given


def test_an_unknown_name_stays_silent_beside_a_good_one_and_is_refused_once():
    script = play() >> Ask.of("nope", "default") << Refused("nope", NOT_GRANTED) << sent(V1, "default")
    assert script >> ack("default", "nope", "default") << acked(DEFAULT) >> Push(V1) >> Ask.of("nope")


def test_an_unknown_name_is_pushed_when_it_appears():
    script = play() >> Ask.of(str(DB)) << Refused(str(DB), NOT_GRANTED)
    both = view(ids=(WEB, DB))
    assert script >> Push(both) << sent(both, str(DB))


def test_a_caller_without_an_entry_waits_on_an_open_stream():
    script = play(EMPTY) >> Ask.of("default") << Refused("default", NO_IDENTITY) >> Push(EMPTY)
    assert script >> Push(V1) << sent(V1, "default")


def test_a_name_that_vanishes_is_refused_and_not_sent_again_when_it_returns_unchanged():
    script = play() >> Ask.of("default") << sent(V1, "default") >> ack("default") << acked(DEFAULT)
    script = script >> Push(EMPTY) << Refused("default", NO_IDENTITY) >> Push(EMPTY)
    assert script >> Push(V1) >> Push(V2) << sent(V2, "default")


def test_a_name_that_was_never_answered_is_answered_when_it_returns():
    script = play() >> Stalled(Ask.of("default")) >> Stalled(Push(EMPTY)) << Refused("default", NO_IDENTITY)
    assert script >> Flush() >> Push(V1) << sent(V1, "default")


@pytest.mark.parametrize("name", ["file-root:system", "file-cert:/etc/a.pem~/etc/a.key"])
def test_the_names_of_pilot_agent_raise_no_alarm(name: str):
    assert play() >> Ask.of(name, "default") << sent(V1, "default") >> Push(V1)


@pytest.mark.parametrize("name", ["*", "", " default", "DEFAULT", "a\x00b", "a\nb", "\u202e", "default\x00"])
def test_odd_names_are_just_unknown(name: str):
    assert play() >> Ask.of(name) << Refused(name, NOT_GRANTED)


# Types, nodes, limits


def test_other_types_are_ignored_but_their_node_is_remembered():
    script = play(typeless=False)
    script = script >> SotwRequest(("x",), type_url="type.googleapis.com/envoy.Cluster", node=Node("n", True))
    script = script << Ignored(OTHER_TYPE)
    assert script >> Ask.of("ROOTCA") << sent(V1, "ROOTCA", spiffe_validator=True)


def test_a_missing_type_means_secrets_on_the_sds_service_and_nothing_on_ads():
    assert play() >> SotwRequest(("default",), type_url="") << sent(V1, "default")
    assert play(typeless=False) >> SotwRequest(("default",), type_url="") << Ignored(OTHER_TYPE)


def test_the_node_of_the_last_request_that_carried_one_decides_the_form_of_bundles():
    script = play() >> Ask.of("ROOTCA", node=Node("n", True)) << sent(V1, "ROOTCA", spiffe_validator=True)
    script = script >> Ask.of("default") << sent(V1, "default")
    newer = view(1, ca=2)
    script = script >> Push(newer) << sent(newer, "ROOTCA", spiffe_validator=True)
    assert script >> Ask.of("default", node=Node("n", False)) << sent(newer, "ROOTCA") << sent(V1, "default")


def test_all_is_for_the_spiffe_validator_whatever_the_node_says():
    assert of(V1, "ALL").version == of(V1, "ALL", spiffe_validator=True).version
    assert play() >> Ask.of("ALL") << sent(V1, "ALL")


def test_too_many_names_end_the_stream():
    script = play(limits=Limits(names=2)) >> Ask.of("a") << Refused("a", NOT_GRANTED)
    script = script >> Ask.of("b", "a") << Refused("b", NOT_GRANTED)
    with pytest.raises(LimitExceeded, match="more than 2 resource names"):
        script >> Ask.of("c")


def test_replacing_names_counts_only_what_is_left():
    script = play(limits=Limits(names=2)) >> Ask.of("default", "ROOTCA") << sent(V1, "default") << sent(V1, "ROOTCA")
    assert script >> ack("ROOTCA", str(WEB), "ALL") << acked(ROOT) << sent(V1, str(WEB)) << sent(V1, "ALL")


def test_a_name_too_long_ends_the_stream_without_an_echo():
    with pytest.raises(InvalidRequest) as caught:
        play(limits=Limits(name_length=10)) >> Ask.of("x" * 11)
    assert "xx" not in str(caught.value)


# Slow readers


def test_a_slow_reader_gets_only_the_newest():
    script = play() >> Stalled(Ask.of("default")) >> Stalled(Push(V2)) >> Stalled(Push(V3))
    assert script >> Flush() << sent(V3, "default")


def test_a_push_that_is_taken_back_before_it_was_read_is_not_sent():
    script = play() >> Ask.of("default") << sent(V1, "default") >> ack("default") << acked(DEFAULT)
    assert script >> Stalled(Push(V2)) >> Stalled(Push(V1)) >> Flush()


def test_an_answer_that_is_owed_survives_pushes_that_change_nothing():
    script = play() >> Ask.of("default") << sent(V1, "default") >> Stalled(Ask.of("default")) >> Stalled(Push(V1))
    assert script >> Flush() << sent(V1, "default")


def test_what_is_dropped_while_pending_is_not_sent():
    script = play() >> Ask.of("default", "ROOTCA") << sent(V1, "default") << sent(V1, "ROOTCA")
    script = script >> Stalled(Push(V2)) >> Stalled(ack("ROOTCA", "ROOTCA")) << acked(ROOT)
    assert script >> Flush()


def test_a_reader_that_never_reads_is_owed_one_response_a_name_at_most():
    stream = SotwStream()
    stream.receive(SotwRequest(("default", "ROOTCA")), V1, 1.0)
    for generation in range(2, 50):
        stream.offer(view(generation, generation))
        stream.receive(SotwRequest(("default",)), view(generation, generation), 1.0)
    owed = []
    while send := stream.take(1.0):
        owed.append(send.name)
    assert sorted(owed) == ["ROOTCA", "default"]


# MOSN: one request a secret, each with an empty nonce; ACKs list what was received so far


def test_mosn_second_request_does_not_replace_the_first():
    script = play() >> Ask.of("default") << sent(V1, "default") >> Ask.of("ROOTCA") << sent(V1, "ROOTCA")
    script = script >> ack("default", "default") << acked(DEFAULT)
    script = script >> ack("ROOTCA", "ROOTCA", "default") << acked(ROOT)
    both = view(2, ca=2)
    assert script >> Push(both) << sent(both, "default") << sent(both, "ROOTCA")


def test_mosn_ack_does_not_drop_a_name_that_it_could_not_have_received_yet():
    script = play() >> Ask.of(str(DB)) << Refused(str(DB), NOT_GRANTED) >> Ask.of("default") << sent(V1, "default")
    script = script >> ack("default", "default") << acked(DEFAULT)
    both = view(ids=(WEB, DB))
    assert script >> Push(both) << sent(both, str(DB))
    assert script >> ack(str(DB), "default", str(DB)) << acked(of(both, str(DB)))


def test_mosn_ack_counts_what_was_read_not_what_was_queued():
    """The first push of ROOTCA was overtaken while MOSN did not read; its ACK of `default` cannot drop it."""
    script = play() >> Ask.of("default") << sent(V1, "default") >> Stalled(Ask.of("ROOTCA"))
    newer = view(1, ca=2)
    script = script >> Stalled(Push(newer)) >> Stalled(ack("default", "default")) << acked(DEFAULT)
    assert script >> Flush() << sent(newer, "ROOTCA")


def test_mosn_accepts_what_it_is_served_unasked():
    """After a reconnect it stays silent; the session asks in its name."""
    script = play() >> SotwRequest(("default", "ROOTCA")) << sent(V1, "default") << sent(V1, "ROOTCA")
    script = script >> ack("default", "default") << acked(DEFAULT) >> ack("ROOTCA", "ROOTCA", "default") << acked(ROOT)
    assert script >> Ask.of("default") << sent(V1, "default") >> Push(V2) << sent(V2, "default")


# Envoy over ADS: every request lists all names that are wanted


def test_envoy_drops_an_unanswered_name_by_omitting_it_once_it_has_listed_it_unsent():
    script = play() >> Ask.of("default", str(DB)) << Refused(str(DB), NOT_GRANTED) << sent(V1, "default")
    script = script >> ack("default", "default", str(DB)) << acked(DEFAULT) >> ack("default", "default")
    assert script >> Push(view(ids=(WEB, DB)))
    assert script.stream.wanted == ("default",)


def test_envoy_omission_that_looks_like_mosn_is_honoured_at_the_next_ack():
    script = play() >> Ask.of("default", str(DB)) << Refused(str(DB), NOT_GRANTED) << sent(V1, "default")
    script = script >> ack("default", "default") << acked(DEFAULT)
    both = view(ids=(WEB, DB))
    script = script >> Push(both) << sent(both, str(DB))  # Envoy does not want it, and ignores it
    assert script >> ack(str(DB), "default") << acked(of(both, str(DB)))
    assert script.stream.wanted == ("default",)


def test_envoy_adds_a_name_with_the_nonce_of_the_last_response():
    script = play() >> Ask.of("default") << sent(V1, "default") >> ack("default") << acked(DEFAULT)
    assert script >> ack("default", "default", "ROOTCA") << sent(V1, "ROOTCA")


def test_envoy_drops_a_name_that_is_in_flight():
    script = play() >> Ask.of("default", "ROOTCA") << sent(V1, "default") << sent(V1, "ROOTCA")
    script = script >> ack("default", "default") << acked(DEFAULT)
    assert script >> ack("ROOTCA", "default") << acked(ROOT)
    assert script.stream.wanted == ("default",)


def test_envoy_drops_a_name_it_had_though_a_newer_version_of_it_is_in_flight():
    script = play() >> Ask.of("default", "ROOTCA") << sent(V1, "default") << sent(V1, "ROOTCA")
    script = script >> Push(V2) << sent(V2, "default")
    script = script >> ack("ROOTCA", "ROOTCA") << acked(ROOT)
    assert script.stream.wanted == ("ROOTCA",)

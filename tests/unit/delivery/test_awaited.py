"""Names of which it is not known yet whether there is a secret: nothing is said before it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ca.masked import Masked
from sds.delivery.messages import EXPIRED, NO_CERTIFICATE, NO_VALUE, NOT_GRANTED, DeltaRequest, Refused, SotwRequest
from sds.delivery.resource import GenericSecret, Resource, make_resource
from sds.delivery.secret_name import may_be_secret
from sds.delivery.stream import DeltaStream, SotwStream
from sds.delivery.view import WAITING, Absence, View
from sds.secrets.rules import validate
from sds.secrets.secret import EmbeddedSource, SecretKind, SecretSpec
from tests.fakes.secrets import identity, trust


def secret(name: str = "password", revision: str = "1") -> Resource:
    return make_resource(name, GenericSecret((("", Masked(b"canary")),), revision))


def view(*secrets: Resource, **absent: Absence) -> View:
    return View.build([identity()], trust(), secrets, absent=absent)


GONE = Absence(NOT_GRANTED)
ENDED = Absence(EXPIRED, kept=True)


def test_only_what_can_be_a_secret_is_waited_for() -> None:
    seen = view(secret("token"), lost=GONE)
    assert seen.awaits("password")
    for name in (
        "lost",
        "default",
        "ROOTCA",
        "ALL",
        "spiffe://example.org/x",
        "file-cert:/a~/b",
        "",
        "*",
        "-x",
        "a" * 129,
    ):
        assert not seen.awaits(name), name
    assert not View.build([identity()], trust()).awaits("password"), "nobody looks for secrets there"
    assert not WAITING.awaits("password"), "without an identity there is nothing to wait for"


def test_names_of_roles_are_never_secrets_even_when_they_resolve_to_nothing() -> None:
    seen = View.build([identity()], trust(), has_default=False, absent={})
    assert seen.resolve("default") is None
    assert not seen.awaits("default")


def test_shapes_of_names() -> None:
    for name in ("a", "A9", "db/main.password_1-x", "9" * 128, "tickets"):
        assert may_be_secret(name)
    for name in ("", "/a", ".a", "_a", "a b", "a:b", "sds://a", "é", "a\n", "a" * 129, "٣"):
        assert not may_be_secret(name), name


def test_delta_says_nothing_until_it_is_known_and_then_once() -> None:
    stream = DeltaStream()
    assert stream.receive(DeltaRequest(("password",)), view(), 1.0) == []
    assert stream.take(1.0) is None
    assert stream.offer(view(password=GONE)) == [Refused("password", NOT_GRANTED)]
    sent = stream.take(2.0)
    assert sent is not None
    assert (sent.name, sent.resource) == ("password", None)
    assert stream.offer(view(password=GONE)) == []
    assert stream.take(3.0) is None
    stream.offer(view(secret()))
    sent = stream.take(4.0)
    assert sent is not None
    assert sent.resource is not None


def test_state_of_the_world_answers_when_the_value_comes() -> None:
    stream = SotwStream()
    assert stream.receive(SotwRequest(("password", "default")), view(), 1.0) == []
    first = stream.take(1.0)
    assert first is not None
    assert first.name == "default"
    assert stream.take(1.0) is None
    stream.offer(view(secret()))
    second = stream.take(2.0)
    assert second is not None
    assert second.name == "password"


def test_the_reason_is_told_when_it_is_another_one() -> None:
    stream = SotwStream()
    stream.receive(SotwRequest(("password",)), view(), 1.0)
    assert stream.offer(view(password=Absence(NO_VALUE))) == [Refused("password", NO_VALUE)]
    assert stream.offer(view(password=Absence(NO_VALUE))) == []
    assert stream.offer(view(password=GONE)) == [Refused("password", NOT_GRANTED)]
    assert stream.offer(WAITING) == [Refused("password", NO_CERTIFICATE)]


def test_who_has_an_expired_value_is_left_alone_and_who_asks_is_told() -> None:
    holder, newcomer = DeltaStream(), DeltaStream()
    holder.receive(DeltaRequest(("password",)), view(secret()), 1.0)
    assert holder.take(1.0) is not None
    ended = view(password=ENDED)
    assert holder.offer(ended) == [Refused("password", EXPIRED)]
    assert holder.take(2.0) is None
    assert newcomer.receive(DeltaRequest(("password",)), ended, 2.0) == [Refused("password", EXPIRED)]
    sent = newcomer.take(2.0)
    assert sent is not None
    assert sent.resource is None
    holder.receive(DeltaRequest(("password",)), ended, 3.0)
    sent = holder.take(3.0)
    assert sent is not None, "whoever asks again is answered"
    assert sent.resource is None


def test_what_was_about_to_be_sent_is_held_back_when_it_is_not_known_any_more() -> None:
    stream = DeltaStream()
    stream.receive(DeltaRequest(("password",)), view(secret()), 1.0)
    stream.offer(view())
    assert stream.take(1.0) is None
    stream.offer(view(secret(revision="2")))
    sent = stream.take(2.0)
    assert sent is not None
    assert sent.resource is not None
    assert sent.resource.content.revision == "2"  # type: ignore[union-attr]


def test_identities_and_bundles_come_before_secrets() -> None:
    seen = View.build([identity()], trust(), [secret(name) for name in ("default", "ROOTCA", "password")], absent={})
    kinds = {name: type(seen.resolve(name).content).__name__ for name in ("default", "ROOTCA", "password")}  # type: ignore[union-attr]
    assert kinds == {"default": "TlsCertificate", "ROOTCA": "TrustedCa", "password": "GenericSecret"}


@given(
    st.text(alphabet="aA0-._/:% é", max_size=140) | st.from_regex(r"[A-Za-z0-9][-._/A-Za-z0-9]{0,140}", fullmatch=True)
)
def test_what_can_be_defined_can_be_asked_for(name: str) -> None:
    spec = SecretSpec(name, SecretKind.GENERIC, EmbeddedSource())
    definable = all(problem.field != "name" for problem in validate(spec))
    assert not definable or may_be_secret(name)

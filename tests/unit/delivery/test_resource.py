from __future__ import annotations

import gc
import pickle
import weakref
from datetime import UTC, datetime

import pytest

from ca.masked import Masked
from sds.delivery.resource import (
    Content,
    GenericSecret,
    Resource,
    SpiffeValidator,
    TicketKeys,
    TlsCertificate,
    TrustedCa,
    make_resource,
)

CANARY = b"canary-in-the-key"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def certificate(chain: bytes = b"chain", key: bytes = CANARY, serial: str = "1") -> TlsCertificate:
    return TlsCertificate(chain, Masked(key), serial, NOW)


CONTENTS: tuple[Content, ...] = (
    certificate(),
    TrustedCa(b"pem"),
    SpiffeValidator((("a", b"pem"),)),
    TicketKeys((Masked(CANARY), Masked(b"2"))),
    GenericSecret((("", Masked(CANARY)),), "r1"),
)


@pytest.mark.parametrize("content", CONTENTS, ids=lambda c: type(c).__name__)
def test_the_version_is_a_digest_of_the_content(content: Content):
    first, second = make_resource("a", content), make_resource("b", content)
    assert first.version == second.version
    assert len(first.version) == 32
    assert int(first.version, 16) >= 0


def test_every_difference_in_content_and_kind_shows_in_the_digest():
    others: list[Content] = [
        *CONTENTS,
        certificate(chain=b"chain2"),
        certificate(key=b"other"),
        certificate(chain=b"chainc", key=b"anary-in-the-key"),  # the same bytes, cut elsewhere
        TrustedCa(b"pem2"),
        SpiffeValidator((("a", b"pem"), ("b", b"pem"))),
        SpiffeValidator((("ap", b"em"),)),
        TicketKeys((Masked(b"2"), Masked(CANARY))),
        TicketKeys((Masked(CANARY + b"2"),)),
        GenericSecret((("", Masked(CANARY)),), "r2"),
        GenericSecret((("k", Masked(CANARY)),), "r3"),
    ]
    made = [make_resource("n", content) for content in others]
    assert len({resource.digest for resource in made}) == len(made)
    assert len({resource.version for resource in made}) == len(made)


def test_the_version_of_a_named_secret_tells_nothing_of_its_value():
    one = make_resource("n", GenericSecret((("", Masked(b"hunter2")),), "7"))
    other = make_resource("n", GenericSecret((("", Masked(b"correct horse")),), "7"))
    assert one.version == other.version
    assert one.digest != other.digest, "but they never share an encoding"


def test_renaming_keeps_all_but_the_name():
    resource = make_resource("a", CONTENTS[0])
    renamed = resource.renamed("b")
    assert (renamed.name, renamed.version, renamed.digest) == ("b", resource.version, resource.digest)
    assert renamed.content is resource.content


def test_only_certificates_have_a_serial():
    assert make_resource("a", certificate(serial="ab")).serial == "ab"
    assert make_resource("a", CONTENTS[1]).serial == ""


@pytest.mark.parametrize("content", CONTENTS, ids=lambda c: type(c).__name__)
def test_nothing_secret_shows_or_can_be_pickled_by_accident(content: Content):
    resource = make_resource("a", content)
    for shown in (repr(resource), str(resource), f"{resource}", repr(content)):
        assert "canary" not in shown
        assert resource.digest.hex() not in shown
    if not isinstance(content, TrustedCa | SpiffeValidator):
        with pytest.raises(TypeError):
            pickle.dumps(resource)


def test_resources_are_told_apart_by_identity_and_can_be_held_weakly():
    resource: Resource | None = make_resource("a", CONTENTS[0])
    assert resource != make_resource("a", CONTENTS[0])
    reference = weakref.ref(resource)  # type: ignore[arg-type]
    resource = None
    gc.collect()
    assert reference() is None

"""Which certificates get an OCSP answer, when it is replaced, and when it is taken away."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from structlog.testing import capture_logs

from attestation.entry import RegistrationEntry
from sds._pb.sds.node.v1 import node_pb2
from sds.agent.cache import Cache
from sds.agent.dial import NodeLink
from sds.agent.errors import ServerUnreachable
from sds.agent.staples import MAX_STAPLE_BYTES, Stapler
from sds.logs import get_logger
from tests.fakes.clock import FakeClock
from tests.unit.agent.entries import bundle, entry, svid

VALIDITY = timedelta(minutes=10)


def stamp(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


class Server:
    """What the server would say, and what it was asked."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.asked: list[list[str]] = []
        self.answers: dict[str, node_pb2.OcspStaple] = {}
        self.down = False
        self.link: NodeLink | None = cast("NodeLink", self)

    def knows(self, *serials: str, response: bytes = b"answer", validity: timedelta = VALIDITY) -> None:
        now = self.clock.now()
        for serial in serials:
            self.answers[serial] = node_pb2.OcspStaple(
                serial=serial, response=response, this_update=stamp(now), next_update=stamp(now + validity)
            )

    async def staples(self, request: Any) -> node_pb2.OcspStaplesResponse:
        self.asked.append(list(request.serials))
        if self.down:
            raise ServerUnreachable("away")
        found = [self.answers[serial] for serial in request.serials if serial in self.answers]
        return node_pb2.OcspStaplesResponse(staples=found)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cache(clock: FakeClock) -> Cache:
    made = Cache(clock)
    made.apply([entry(), with_profile("e2", "web")], snapshot=True, bundle=bundle())
    made.put({"e1": svid(entry(), "01"), "e2": svid(with_profile("e2", "web"), "02")})
    return made


@pytest.fixture
def server(clock: FakeClock) -> Server:
    return Server(clock)


def with_profile(name: str, profile: str) -> RegistrationEntry:
    made = entry(name)
    return replace(made, spec=replace(made.spec, profile=profile))


def stapler(cache: Cache, server: Server, clock: FakeClock, *profiles: str, batch: int = 10) -> Stapler:
    return Stapler(cache, server, profiles, batch, clock, get_logger("test"))


def staple_of(cache: Cache, entry_id: str) -> bytes:
    return cache.held[entry_id].identity.certificate.ocsp_staple


async def test_only_profiles_that_are_named_get_one(cache: Cache, server: Server, clock: FakeClock) -> None:
    server.knows("01", "02")
    await stapler(cache, server, clock).look()
    assert server.asked == []
    await stapler(cache, server, clock, "web").look()
    assert (staple_of(cache, "e1"), staple_of(cache, "e2")) == (b"", b"answer")
    await stapler(cache, server, clock, "workload").look()
    assert staple_of(cache, "e1") == b"answer"
    assert server.asked == [["02"], ["01"]]


async def test_an_answer_is_replaced_at_half_of_its_time(cache: Cache, server: Server, clock: FakeClock) -> None:
    made = stapler(cache, server, clock, "web")
    server.knows("02", response=b"first")
    await made.look()
    clock.advance(299)
    await made.look()
    assert len(server.asked) == 1
    server.knows("02", response=b"second")
    clock.advance(2)
    await made.look()
    assert staple_of(cache, "e2") == b"second"
    assert len(server.asked) == 2


async def test_one_that_ran_out_is_taken_away(cache: Cache, server: Server, clock: FakeClock) -> None:
    made = stapler(cache, server, clock, "web")
    server.knows("02")
    await made.look()
    server.down = True
    clock.advance(301)
    with capture_logs() as logs:
        await made.look()
    assert [entry["reason"] for entry in logs] == ["away"]
    assert staple_of(cache, "e2") == b"answer", "it still holds"
    clock.advance(300)
    await made.look()
    assert staple_of(cache, "e2") == b""
    server.down = False
    server.knows("02", response=b"again")
    clock.advance(6)
    await made.look()
    assert staple_of(cache, "e2") == b"again"


async def test_a_new_certificate_gets_an_answer_of_its_own(cache: Cache, server: Server, clock: FakeClock) -> None:
    made = stapler(cache, server, clock, "web")
    server.knows("02", "03")
    await made.look()
    cache.put({"e2": svid(with_profile("e2", "web"), "03")})
    assert staple_of(cache, "e2") == b""
    await made.look()
    assert server.asked == [["02"], ["03"]]
    assert staple_of(cache, "e2") == b"answer"
    cache.staple({"e2": ("02", b"late"), "nobody": ("01", b"x")})  # about one that was replaced
    assert staple_of(cache, "e2") == b"answer"


async def test_what_cannot_be_used_is_not_stapled_and_not_asked_for_at_once(
    cache: Cache, server: Server, clock: FakeClock
) -> None:
    made = stapler(cache, server, clock, "web")
    server.knows("02", response=bytes(MAX_STAPLE_BYTES + 1))
    with capture_logs():
        await made.look()
        await made.look()
        assert len(server.asked) == 1
        for response, validity in ((b"", VALIDITY), (b"old", timedelta(0)), (b"backwards", -VALIDITY)):
            server.knows("02", response=response, validity=validity)
            clock.advance(6)
            await made.look()
            assert staple_of(cache, "e2") == b""
        server.answers.clear()
        server.knows("99")
        clock.advance(6)
        await made.look()
    assert len(server.asked) == 5


async def test_it_asks_in_batches_and_waits_for_a_connection(cache: Cache, server: Server, clock: FakeClock) -> None:
    made = stapler(cache, server, clock, "web", "workload", batch=1)
    server.knows("01", "02")
    server.link = None
    await made.look()
    assert server.asked == []
    server.link = cast("NodeLink", server)
    await made.look()
    assert sorted(server.asked) == [["01"], ["02"]]


async def test_a_staple_is_part_of_what_is_sent_and_changes_its_version(
    cache: Cache, server: Server, clock: FakeClock
) -> None:
    before = cache.held["e2"].identity.resource
    server.knows("02")
    await stapler(cache, server, clock, "web").look()
    after = cache.held["e2"].identity.resource
    assert before.version != after.version
    assert cache.held["e2"].held is not None

"""What is said of the upstream: once when it is lost, once when it is back."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest
from structlog.testing import capture_logs

from ca.errors import AuthorityUnavailable
from ca.upstreams.self_signed import SelfSignedUpstream
from sds.server.upstream.service import RunningUpstream
from sds.server.upstream.watch import UpstreamWatch
from tests.fakes.ca import serial_source
from tests.fakes.clock import EPOCH, FakeClock


class Seen:
    def __init__(self) -> None:
        self.up: list[bool] = []

    def upstream_up(self, name: str, up: bool) -> None:
        self.up.append(up)

    def upstream_expires(self, name: str, not_after: datetime) -> None:
        raise AssertionError


@pytest.fixture
def watch() -> UpstreamWatch:
    return UpstreamWatch("sds", Seen())


async def test_a_change_is_told_once_and_a_new_reason_again(watch: UpstreamWatch) -> None:
    with capture_logs() as logs:
        watch.well()
        for reason in ("away", "away", "banned", "banned"):
            watch.failed(reason)
        assert await watch.readiness() == "banned"
        watch.well()
        watch.well()
    told = [(line["log_level"], line.get("reason")) for line in logs]
    assert told == [("error", "away"), ("error", "banned"), ("info", None)]
    assert await watch.readiness() is None


async def test_the_first_outcome_is_waited_for_and_not_for_ever(watch: UpstreamWatch) -> None:
    assert watch.problem is not None
    await watch.first_outcome(0.01)
    waiting = asyncio.create_task(watch.first_outcome(60))
    await asyncio.sleep(0)
    assert not waiting.done()
    watch.failed("away")
    await asyncio.wait_for(waiting, 5)


def running(watch: UpstreamWatch | None, *, remote: bool) -> RunningUpstream:
    authority = SelfSignedUpstream(serial_source, EPOCH - EPOCH)
    return RunningUpstream(authority, watch, None, lambda: None, remote=remote)


class Start:
    """Fails a number of times for want of an authority."""

    def __init__(self, failures: int) -> None:
        self.left = failures

    async def __call__(self) -> None:
        if self.left:
            self.left -= 1
            raise AuthorityUnavailable("there is none")


async def test_a_start_waits_for_an_upstream_that_may_come_up(watch: UpstreamWatch, clock: FakeClock) -> None:
    watch.failed("away")
    start = Start(2)
    await running(watch, remote=True).wait_for(start, clock)
    assert start.left == 0


@pytest.mark.parametrize("remote", [True, False])
async def test_a_start_fails_when_waiting_would_not_help(watch: UpstreamWatch, clock: FakeClock, remote: bool) -> None:
    """The upstream is well, or is files that somebody has to mend."""
    if remote:
        watch.well()
    else:
        watch.failed("the key file cannot be read")
    with pytest.raises(AuthorityUnavailable, match="there is none"):
        await running(watch, remote=remote).wait_for(Start(1), clock)
    with pytest.raises(AuthorityUnavailable):
        await running(None, remote=False).wait_for(Start(1), clock)


async def test_what_is_not_watched_has_no_check(watch: UpstreamWatch) -> None:
    assert set(running(watch, remote=True).checks) == {"upstream"}
    assert running(None, remote=False).checks == {}

"""The files of a company's authority, replaced while we run: all of them or none."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ca.errors import AuthorityUnavailable
from ca.upstreams.following import Published
from sds.server.upstream import files as module
from sds.server.upstream.files import IssuerPaths, WatchedIssuer
from sds.server.upstream.watch import UpstreamWatch
from tests.fakes.ca import TRUST_DOMAIN, serial_source
from tests.fakes.clock import EPOCH, FakeClock
from tests.fakes.pki import YEAR, Holder, make

FIRST, SECOND = make("first"), make("second")


@dataclass
class Seen:
    up: list[bool] = field(default_factory=list)
    expires: list[datetime] = field(default_factory=list)

    def upstream_up(self, name: str, up: bool) -> None:
        assert name == "disk"
        self.up.append(up)

    def upstream_expires(self, name: str, not_after: datetime) -> None:
        self.expires.append(not_after)


class Folder:
    """Three files, written as others write them."""

    def __init__(self, path: Path, *, bundle: bool = False) -> None:
        self.paths = IssuerPaths(path / "ca.pem", path / "ca.key", path / "roots.pem" if bundle else None)

    def write(self, holder: Holder, *, certificate: bool = True, key: bool = True, roots: bytes = b"") -> None:
        if certificate:
            self.paths.certificates.write_bytes(holder.pem)
        if key:
            self.paths.key.touch(mode=0o600)
            self.paths.key.write_bytes(holder.key_pem)
        if roots and self.paths.bundle is not None:
            self.paths.bundle.write_bytes(roots)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.write(FIRST)
    return made


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def watched(folder: Folder, seen: Seen, clock: FakeClock) -> WatchedIssuer:
    return watcher(folder, seen, clock)


def watcher(folder: Folder, seen: Seen, clock: FakeClock) -> WatchedIssuer:
    watch = UpstreamWatch("disk", seen)
    return WatchedIssuer(folder.paths, TRUST_DOMAIN, serial_source, watch, clock, timedelta(milliseconds=50))


async def test_nothing_is_there_before_the_first_look(watched: WatchedIssuer) -> None:
    with pytest.raises(AuthorityUnavailable, match="not been reached"):
        watched.current()


async def test_what_was_read_is_used_and_its_end_is_told(watched: WatchedIssuer, seen: Seen) -> None:
    await watched.look()
    assert watched.current().roots == (FIRST.der,)
    assert (seen.up, seen.expires) == ([True], [EPOCH + YEAR])


async def test_files_that_did_not_change_are_not_read_again(watched: WatchedIssuer) -> None:
    await watched.look()
    first = watched.current()
    await watched.look()
    assert watched.current() is first


async def test_replaced_files_take_the_place_of_the_former(watched: WatchedIssuer, folder: Folder) -> None:
    await watched.look()
    folder.write(SECOND)
    await watched.look()
    assert watched.current().roots == (SECOND.der,)


@pytest.mark.parametrize("half", ["certificate", "key"])
async def test_half_a_pair_leaves_the_last_good_one_and_alarms_once(
    watched: WatchedIssuer, folder: Folder, seen: Seen, half: str
) -> None:
    await watched.look()
    folder.write(SECOND, certificate=half == "certificate", key=half == "key")
    with capture_logs() as logs:
        for _ in range(3):
            await watched.look()
    assert watched.current().roots == (FIRST.der,)
    assert [line["log_level"] for line in logs] == ["error"]
    assert "does not hold the key" in logs[0]["reason"]
    assert seen.up[-1] is False
    folder.write(SECOND)
    with capture_logs() as logs:
        await watched.look()
    assert watched.current().roots == (SECOND.der,)
    assert [line["event"] for line in logs] == ["the upstream authority can be used again"]
    assert seen.up[-1] is True


async def test_a_pair_that_is_being_replaced_is_waited_for(watched: WatchedIssuer, folder: Folder, seen: Seen) -> None:
    """No alarm for the moment between two writes."""
    await watched.look()
    folder.write(SECOND, key=False)

    async def later() -> None:
        await asyncio.sleep(module.SETTLE / 2)
        folder.write(SECOND, certificate=False)

    writing = asyncio.create_task(later())
    await watched.look()
    await writing
    assert watched.current().roots == (SECOND.der,)
    assert seen.up == [True, True]


async def test_files_that_vanish_are_missed_and_their_return_is_noticed(
    watched: WatchedIssuer, folder: Folder, seen: Seen
) -> None:
    await watched.look()
    folder.paths.key.unlink()
    await watched.look()
    assert watched.current().roots == (FIRST.der,)
    assert seen.up[-1] is False
    folder.write(FIRST)
    await watched.look()
    assert seen.up[-1] is True


async def test_links_are_followed_as_mounted_secrets_are_swapped(tmp_path: Path, seen: Seen, clock: FakeClock) -> None:
    for name, holder in (("v1", FIRST), ("v2", SECOND)):
        (tmp_path / name).mkdir()
        Folder(tmp_path / name).write(holder)
    current = tmp_path / "data"
    current.symlink_to("v1")
    watched = watcher(Folder(current), seen, clock)
    await watched.look()
    assert watched.current().roots == (FIRST.der,)
    swap = tmp_path / "swap"
    swap.symlink_to("v2")
    swap.rename(current)
    await watched.look()
    assert watched.current().roots == (SECOND.der,)


@pytest.mark.parametrize(
    ("file", "mode", "advice"),
    [("key", 0o640, "chmod 600"), ("key", 0o604, "disclosed"), ("certificates", 0o666, "chmod 644")],
)
async def test_files_that_others_may_use_are_not_used(
    watched: WatchedIssuer, folder: Folder, file: str, mode: int, advice: str
) -> None:
    path: Path = getattr(folder.paths, file)
    path.chmod(mode)
    await watched.look()
    with pytest.raises(AuthorityUnavailable, match=advice):
        watched.current()
    path.chmod(0o600)
    await watched.look()
    watched.current()


async def test_odd_files_block_nothing(watched: WatchedIssuer, folder: Folder) -> None:
    folder.paths.certificates.unlink()
    os.mkfifo(folder.paths.certificates, 0o600)
    await asyncio.wait_for(watched.look(), 10)
    with pytest.raises(AuthorityUnavailable, match="is not a file"):
        watched.current()


async def test_an_authority_that_expires_alarms_without_any_change(
    watched: WatchedIssuer, seen: Seen, clock: FakeClock
) -> None:
    await watched.look()
    clock.advance((YEAR + timedelta(days=1)).total_seconds())
    await watched.look()
    assert seen.up[-1] is False


async def test_files_that_become_valid_by_time_are_taken_then(tmp_path: Path, seen: Seen, clock: FakeClock) -> None:
    folder = Folder(tmp_path)
    folder.write(make("early", before=EPOCH + timedelta(hours=1)))
    watched = watcher(folder, seen, clock)
    await watched.look()
    assert seen.up == [False]
    clock.advance(3600)
    await watched.look()
    assert seen.up == [False, True]


class Followed:
    def __init__(self) -> None:
        self.told: list[Published] = []

    async def follow(self, published: Published) -> int:
        self.told.append(published)
        return 0


@pytest.fixture
async def running(tmp_path: Path, seen: Seen, clock: FakeClock) -> AsyncIterator[tuple[Folder, Followed]]:
    folder, followed = Folder(tmp_path, bundle=True), Followed()
    folder.write(FIRST, roots=FIRST.pem)
    task = asyncio.create_task(watcher(folder, seen, clock).run(followed.follow))
    yield folder, followed
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_new_roots_are_handed_on(running: tuple[Folder, Followed]) -> None:
    folder, followed = running
    async with asyncio.timeout(10):
        while not followed.told:
            await asyncio.sleep(0.02)
        assert followed.told[-1] == Published("disk", (FIRST.der,))
        folder.write(FIRST, roots=FIRST.pem + SECOND.pem)
        while followed.told[-1].roots != (FIRST.der, SECOND.der):
            await asyncio.sleep(0.02)

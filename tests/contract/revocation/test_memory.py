"""A database from a backup remembers what was revoked since; its numbers never go back. On both databases."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ca.authority import AuthorityState, SigningAuthority
from ca.revocation import Reason
from sds.server.events import Events
from sds.server.revocation.journal import Known
from sds.server.revocation.journal_file import JournalFile
from sds.server.revocation.memory import MAX_LEAP, Memory, open_memory, standing
from sds.store.records import CertificateRecord
from sds.store.revocation.records import BlockKind, BlockRecord, RevocationRecord
from sds.store.store import Store, open_store
from sds.store.unit_of_work import UnitOfWork
from tests.contract.conftest import QUICK
from tests.contract.revocation.conftest import World
from tests.contract.store.samples import AGENT, agent
from tests.fakes.clock import EPOCH, FakeClock


async def begin(store: Store, path: Path, epoch: str = "new-epoch") -> Memory:
    return await open_memory(store, JournalFile(path), Events("test"), lambda: epoch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "revocations.journal"


async def test_a_sound_database_is_left_alone(world: World, path: Path) -> None:
    active = await world.authority()
    await world.revoke(await world.certificate("0a" * 20, active))
    await begin(world.store, path)
    epoch = await world.store.read(lambda uow: uow.settings.epoch)
    await (await begin(world.store, path)).keep()
    assert await world.store.read(lambda uow: uow.settings.epoch) == epoch
    assert await world.events("database.restored") == []
    known = JournalFile(path).load()
    assert known.revocations.keys() == {"0a" * 20}
    assert known == await world.store.read(standing)


async def test_what_is_kept_is_written_once(world: World, path: Path) -> None:
    memory = await begin(world.store, path)
    await memory.keep()
    before = path.read_bytes()
    await memory.keep()
    assert path.read_bytes() == before
    active = await world.authority()
    await world.revoke(await world.certificate("0a" * 20, active))
    await memory.keep()
    assert path.read_bytes().startswith(before)
    assert JournalFile(path).load() == await world.store.read(standing)


async def test_the_journal_of_another_database_is_set_aside(world: World, path: Path) -> None:
    other = JournalFile(path)
    known = await world.store.read(standing)
    other.append(replace(known, epochs=frozenset({"another"}), marks=replace(known.marks, epoch="another")))
    with capture_logs() as logs:
        await begin(world.store, path)
    assert "another database" in logs[0]["event"]
    assert path.with_name(f"{path.name}.of-another-database").exists()
    assert JournalFile(path).load() == known


# Restoring a real file


@dataclass
class Restored:
    """A database file that is put back to what it was."""

    folder: Path
    clock: FakeClock
    backup: Path
    journal: Path
    store: Store

    @property
    def file(self) -> Path:
        return self.folder / "sds.db"

    async def back_up(self) -> None:
        await self.store.close()
        shutil.copy(self.file, self.backup)
        self.store = self._open()

    async def restore(self) -> None:
        await self.store.close()
        for leftover in self.folder.glob("sds.db*"):
            leftover.unlink()
        shutil.copy(self.backup, self.file)
        self.store = self._open()

    def _open(self) -> Store:
        return open_store(f"sqlite:///{self.file}", clock=self.clock, limits=QUICK)


@pytest.fixture
async def restored(sqlite_url: str, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Restored]:
    folder = Path(sqlite_url.removeprefix("sqlite:///")).parent
    store = open_store(sqlite_url, clock=clock, limits=QUICK)
    made = Restored(folder, clock, tmp_path / "backup.db", tmp_path / "journal", store)
    yield made
    await made.store.close()


def block(kind: BlockKind, value: str, identifier: str) -> BlockRecord:
    return BlockRecord(identifier, kind, value, Reason.KEY_COMPROMISE, "INC-1", EPOCH, "uid:0")


async def revoke_some(world: World, old: str, doubted: str, active: SigningAuthority) -> CertificateRecord:
    """One of everything that can be taken back; the certificate of which a list must still tell a minute later."""
    late = await world.certificate("0b" * 20, active)
    short = await world.certificate("0c" * 20, active, not_after=world.clock.now() + timedelta(seconds=5))
    await world.revoke(late)
    await world.revoke(short)

    def more(uow: UnitOfWork) -> None:
        uow.blocks.add(block(BlockKind.SPIFFE_ID, "spiffe://example.org/web", "b-web"))
        uow.blocks.add(block(BlockKind.AGENT, str(AGENT), "b-agent"))
        uow.agents.ban(AGENT, "stolen")
        uow.blocks.add(block(BlockKind.AUTHORITY, old, "b-authority"))
        standing_now = uow.authorities.get(old)
        uow.authorities.compare_and_swap(standing_now, replace(standing_now, tainted=True, revoked=True))
        uow.blocks.lift("b-lifted", "uid:7")
        suspect = uow.authorities.get(doubted)
        uow.authorities.compare_and_swap(suspect, replace(suspect, tainted=True))

    await world.change(more)
    await world.publisher().ensure()
    return late


async def test_a_restored_database_forgets_no_revocation(restored: Restored) -> None:
    world = World(restored.store, restored.clock)
    old, active = await world.authority(AuthorityState.OLD), await world.authority()
    doubted = await world.authority(AuthorityState.OLD)
    early = await world.certificate("0a" * 20, active)
    await world.revoke(early)
    await world.change(lambda uow: uow.agents.upsert(agent()))
    await world.publisher().ensure()
    await world.change(lambda uow: uow.blocks.add(block(BlockKind.ENTRY, "entry-7", "b-lifted")))
    await begin(restored.store, restored.journal)
    await restored.back_up()

    world.store = restored.store
    memory = await begin(restored.store, restored.journal)
    world.clock.advance(60)
    late = await revoke_some(world, old.authority.id, doubted.authority.id, active)
    await memory.keep()
    before = await restored.store.read(standing)
    lists = await world.lists()

    await restored.restore()
    world.store = restored.store
    world.clock.advance(60)
    forgotten = await restored.store.read(standing)
    assert late.serial not in forgotten.revocations
    assert forgotten.marks.bundle_sequence < before.marks.bundle_sequence

    with capture_logs() as logs:
        await begin(restored.store, restored.journal, "epoch-2")
    assert [entry["log_level"] for entry in logs] == ["error"]
    await world.publisher().ensure()
    assert_revoked_as(before, await restored.store.read(standing), {early.serial, late.serial})
    now = await world.lists()
    assert now.keys() == {active.authority.id, doubted.authority.id}
    assert now[active.authority.id].serials == {early.serial, late.serial}
    assert now[active.authority.id].number > lists[active.authority.id].number
    assert (await restored.store.read(lambda uow: uow.agents.get(AGENT))).banned
    assert await revoked_and_tainted(restored.store, old.authority.id) == (True, True)
    assert await revoked_and_tainted(restored.store, doubted.authority.id) == (False, True)
    (event,) = await world.events("database.restored")
    assert [event.details[what] for what in ("certificates", "blocks", "authorities")] == [1, 6, 2]

    # Done once: the next start finds nothing to do.
    await begin(restored.store, restored.journal, "epoch-3")
    assert len(await world.events("database.restored")) == 1
    assert (await restored.store.read(standing)).epochs == {"epoch-2"}


def assert_revoked_as(before: Known, after: Known, serials: set[str]) -> None:
    """`serials`: of what is not expired."""
    assert after.blocks == before.blocks
    assert after.revocations == {serial: one for serial, one in before.revocations.items() if serial in serials}
    assert after.epochs == {"epoch-2"}
    assert after.marks.bundle_sequence > before.marks.bundle_sequence


async def revoked_and_tainted(store: Store, authority_id: str) -> tuple[bool, bool]:
    found = await store.read(lambda uow: uow.authorities.get(authority_id))
    return found.revoked, found.tainted


async def test_numbers_do_not_go_back_although_the_clock_does(restored: Restored) -> None:
    world = World(restored.store, restored.clock)
    active = await world.authority()
    await world.revoke(await world.certificate("0a" * 20, active))
    await world.publisher().ensure()
    await restored.back_up()
    world.store = restored.store
    world.clock.advance(3600)
    await world.revoke(await world.certificate("0b" * 20, active))
    await world.publisher().ensure()
    await (await begin(restored.store, restored.journal)).keep()
    (before,) = (await world.lists()).values()
    await restored.restore()
    world.store = restored.store
    world.clock.advance(-3600)  # and the machine's clock is wrong, too
    await begin(restored.store, restored.journal)
    await world.publisher().ensure()
    (after,) = (await world.lists()).values()
    assert after.number > before.number
    assert after.serials == {"0a" * 20, "0b" * 20}


async def test_a_database_twice_restored_is_known_by_its_older_name(restored: Restored) -> None:
    world = World(restored.store, restored.clock)
    active = await world.authority()
    await restored.back_up()
    for number in (1, 2):
        world.store = restored.store
        memory = await begin(restored.store, restored.journal, f"epoch-{number}")
        world.clock.advance(1)
        await world.revoke(await world.certificate(f"{number:040x}", active))
        await memory.keep()
        await restored.restore()
    await begin(restored.store, restored.journal, "epoch-3")
    after = await restored.store.read(standing)
    assert after.revocations.keys() == {f"{1:040x}", f"{2:040x}"}
    assert after.epochs == {"epoch-3"}


async def test_a_change_that_is_lost_gives_the_database_another_name(restored: Restored) -> None:
    """Else an agent would take its place in the old feed for one in the new."""
    world = World(restored.store, restored.clock)
    await world.authority()
    await restored.back_up()
    world.store = restored.store
    await world.authority(AuthorityState.PREPARED)
    await (await begin(restored.store, restored.journal)).keep()
    await restored.restore()
    await begin(restored.store, restored.journal, "epoch-2")
    assert (await restored.store.read(standing)).epochs == {"epoch-2"}


# Agents know, too


@pytest.mark.parametrize(("ahead", "seen"), [(3, True), (MAX_LEAP, True), (MAX_LEAP + 1, False), (0, False)])
async def test_an_agent_with_a_newer_bundle_tells_of_a_backup(world: World, path: Path, ahead: int, seen: bool) -> None:
    await world.authority()
    memory = await begin(world.store, path)
    newest = await world.sequence()
    await world.change(lambda uow: uow.agents.upsert(agent()))
    await world.store.write(lambda uow: uow.agents.verifies_by(AGENT, newest + ahead))
    with capture_logs() as logs:
        await memory.tick()
        await memory.tick()
    events = await world.events("database.behind")
    if not seen:
        assert (events, logs, await world.sequence()) == ([], [], newest)
        return
    (event,) = events
    assert event.details["bundle_sequence"] == newest + ahead
    assert [entry["log_level"] for entry in logs] == ["error"]
    assert await world.sequence() == newest + ahead + 1


async def test_the_journal_does_not_grow_for_ever(world: World, path: Path) -> None:
    file = JournalFile(path)
    memory = await open_memory(world.store, file, Events("test"), lambda: "e")
    active = await world.authority()
    await world.revoke(await world.certificate("0a" * 20, active))
    await memory.keep()
    many: Callable[[int], dict[str, RevocationRecord]] = lambda start: {  # noqa: E731
        f"{n:040x}": RevocationRecord(
            f"{n:040x}", AGENT.path, EPOCH + timedelta(seconds=1), Reason.UNSPECIFIED, EPOCH, "b"
        )
        for n in range(start, start + 50_000)
    }
    for turn in range(4):
        file.append(replace(JournalFile(path).load(), revocations=many(turn * 50_000)))
    assert file.large
    await world.revoke(await world.certificate("0b" * 20, active))
    await memory.keep()
    assert not file.large
    assert JournalFile(path).load().revocations.keys() == {"0a" * 20, "0b" * 20}

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ca.masked import Masked
from sds.agent.datadir import IDENTITY, DataFolder
from sds.agent.errors import DataFolderUnusable, IdentityUnusable
from tests.unit.agent.identities import make_identity


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent"


def test_it_is_made_private_and_so_is_everything_in_it(path: Path) -> None:
    before = os.umask(0)
    try:
        folder = DataFolder(path)
        folder.save_identity(make_identity())
    finally:
        os.umask(before)
    assert mode(path) == 0o700
    assert {mode(file) for file in path.iterdir()} == {0o600}
    folder.close()


def test_an_identity_is_kept(path: Path) -> None:
    folder = DataFolder(path)
    assert folder.load_identity() is None
    first, second = make_identity(), make_identity()
    folder.save_identity(first)
    folder.save_identity(second)
    folder.close()
    again = DataFolder(path)
    kept = again.load_identity()
    assert kept is not None
    assert kept.svid == second.svid
    assert sorted(file.name for file in path.iterdir()) == ["identity.json", "lock"]
    again.close()


def test_two_agents_cannot_share_a_folder(path: Path) -> None:
    folder = DataFolder(path)
    with pytest.raises(DataFolderUnusable, match="another agent uses"):
        DataFolder(path)
    folder.close()
    DataFolder(path).close()


def test_a_killed_agent_holds_no_lock(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from sds.agent.datadir import DataFolder\n"
        "DataFolder(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    DataFolder(path).close()


def test_a_file_where_the_folder_should_be_is_called_so(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(DataFolderUnusable, match=f"{path} is no folder"):
        DataFolder(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("bits", [0o755, 0o750, 0o701, 0o770])
def test_a_folder_that_is_open_to_others_is_refused(path: Path, bits: int) -> None:
    path.mkdir()
    path.chmod(bits)
    with pytest.raises(DataFolderUnusable, match=f"chmod 700 {path}"):
        DataFolder(path)


@pytest.mark.parametrize("bits", [0o644, 0o640, 0o660, 0o602])
def test_an_identity_that_others_could_read_or_change_is_refused(path: Path, bits: int) -> None:
    folder = DataFolder(path)
    folder.save_identity(make_identity())
    (path / IDENTITY).chmod(bits)
    with pytest.raises(DataFolderUnusable, match=f"chmod 600 {path / IDENTITY}"):
        folder.load_identity()
    folder.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_another_is_refused(path: Path) -> None:
    folder = DataFolder(path)
    folder.save_identity(make_identity())
    os.chown(path / IDENTITY, 12345, 12345)
    with pytest.raises(DataFolderUnusable, match="belongs to uid 12345"):
        folder.load_identity()
    folder.close()
    os.chown(path, 12345, 12345)
    with pytest.raises(DataFolderUnusable, match="belongs to uid 12345"):
        DataFolder(path)


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    folder = DataFolder(path)
    (tmp_path / "elsewhere").write_text("{}")
    (path / IDENTITY).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataFolderUnusable, match="cannot be read"):
        folder.load_identity()
    folder.close()


def test_a_pipe_does_not_hang_the_agent(path: Path) -> None:
    folder = DataFolder(path)
    os.mkfifo(path / IDENTITY, 0o600)
    with pytest.raises(DataFolderUnusable, match="is not a file"):
        folder.load_identity()
    folder.close()


def test_a_torn_file_is_told_of_by_its_name(path: Path) -> None:
    folder = DataFolder(path)
    folder.save_identity(make_identity())
    whole = (path / IDENTITY).read_bytes()
    (path / IDENTITY).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IdentityUnusable, match=rf"{IDENTITY} is damaged"):
        folder.load_identity()
    folder.close()


def test_what_a_crash_left_half_written_is_removed_and_the_whole_one_stays(path: Path) -> None:
    folder = DataFolder(path)
    identity = make_identity()
    folder.save_identity(identity)
    folder.close()
    leftover = path / f"{IDENTITY}.tmp-0badcafe"
    leftover.write_text("{half")
    leftover.chmod(0o600)
    again = DataFolder(path)
    kept = again.load_identity()
    assert kept is not None
    assert kept.svid == identity.svid
    assert not leftover.exists()
    again.close()


def test_a_write_that_fails_leaves_what_was_there(path: Path) -> None:
    folder = DataFolder(path)
    folder.write("names", Masked(b"old"))

    class Unwritable:
        def reveal(self) -> bytes:
            raise OSError(28, "No space left on device")

    with pytest.raises(DataFolderUnusable, match="No space left"):
        folder.write("names", Unwritable())  # type: ignore[arg-type]
    content = folder.read("names")
    assert content is not None
    assert content.reveal() == b"old"
    assert sorted(file.name for file in path.iterdir()) == ["lock", "names"]
    folder.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderUnusable, match="cannot be used"):
        DataFolder(tmp_path / "file" / "agent")

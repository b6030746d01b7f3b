from __future__ import annotations

import os
from pathlib import Path

import pytest

from ca.kek import KeyRing
from sds.server.authority.kek_file import KekFile, KekFileUnusable


@pytest.fixture
def file(tmp_path: Path) -> KekFile:
    return KekFile(tmp_path / "kek", os.urandom)


def ids(ring: KeyRing | None) -> list[str]:
    assert ring is not None
    return [kek.id for kek in (ring.current, *ring.previous)]


def test_it_is_made_private_and_read_back(file: KekFile) -> None:
    assert file.load() is None
    old = os.umask(0)
    try:
        made = file.create()
    finally:
        os.umask(old)
    assert file.path.stat().st_mode & 0o7777 == 0o600
    assert ids(file.load()) == ids(made)
    assert [entry.name for entry in file.path.parent.iterdir()] == ["kek"]


def test_an_existing_file_is_never_made_again(file: KekFile) -> None:
    made = file.create()
    with pytest.raises(KekFileUnusable, match="cannot be made"):
        file.create()
    assert ids(file.load()) == ids(made)
    assert [entry.name for entry in file.path.parent.iterdir()] == ["kek"]


def test_it_is_replaced_whole(file: KekFile) -> None:
    ring = file.create()
    both = ring.rotated(file.new_key())
    file.replace(both)
    assert ids(file.load()) == ids(both)
    assert file.path.stat().st_mode & 0o7777 == 0o600
    file.replace(both.retired())
    assert ids(file.load()) == ids(both)[:1]
    assert [entry.name for entry in file.path.parent.iterdir()] == ["kek"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_one_that_others_may_use_is_refused(file: KekFile, mode: int) -> None:
    file.create()
    file.path.chmod(mode)
    with pytest.raises(KekFileUnusable, match="chmod 600"):
        file.load()


def test_a_link_a_folder_and_a_pipe_are_refused(file: KekFile, tmp_path: Path) -> None:
    real = tmp_path / "real"
    KekFile(real, os.urandom).create()
    file.path.symlink_to(real)
    with pytest.raises(KekFileUnusable):
        file.load()
    file.path.unlink()
    file.path.mkdir(mode=0o700)
    with pytest.raises(KekFileUnusable, match="regular file"):
        file.load()
    file.path.rmdir()
    os.mkfifo(file.path, 0o600)
    with pytest.raises(KekFileUnusable, match="regular file"):
        file.load()


@pytest.mark.parametrize("content", [b"", b"rubbish\n", b"\xff\xfe", b"x" * 100_000])
def test_a_damaged_one_is_refused_and_not_shown(file: KekFile, content: bytes) -> None:
    file.path.write_bytes(content)
    file.path.chmod(0o600)
    with pytest.raises(KekFileUnusable, match="damaged") as caught:
        file.load()
    assert "rubbish" not in str(caught.value)


def test_one_altered_bit_is_noticed(file: KekFile) -> None:
    file.create()
    text = file.path.read_text()
    last = text.rstrip("\n")[-3]
    file.path.write_text(text.rstrip("\n")[:-3] + ("A" if last != "A" else "B") + text.rstrip("\n")[-2:] + "\n")
    with pytest.raises(KekFileUnusable, match="damaged"):
        file.load()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_refused(file: KekFile) -> None:
    file.create()
    os.chown(file.path, 12345, 12345)
    with pytest.raises(KekFileUnusable, match="another user"):
        file.load()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(KekFileUnusable, match="cannot be written"):
        KekFile(tmp_path / "missing" / "kek", os.urandom).create()

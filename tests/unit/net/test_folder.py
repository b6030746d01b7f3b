from __future__ import annotations

import shutil
import stat
from pathlib import Path

from sds.net.folder import private_folder


def test_it_is_private_and_replaces_what_a_killed_process_left(folder: Path) -> None:
    first = private_folder(folder)
    (first / "backend").write_text("")
    second = private_folder(folder)
    assert stat.S_IMODE(second.stat().st_mode) == 0o700
    assert list(folder.iterdir()) == [second]


def test_a_long_path_is_avoided(folder: Path) -> None:
    deep = folder / ("d" * 90)
    deep.mkdir()
    made = private_folder(deep)
    assert len(str(made)) <= 80
    assert list(deep.iterdir()) == []
    shutil.rmtree(made)

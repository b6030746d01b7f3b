from __future__ import annotations

from pathlib import Path

import pytest

from sds.server.datadir import DataDirUnusable
from sds.server.secrets.leases.replica import FILE, replica_name

ONE, OTHER = "a" * 32, "b" * 32


def test_the_name_stays_over_a_restart(tmp_path: Path) -> None:
    assert replica_name(tmp_path, ONE) == ONE
    assert replica_name(tmp_path, OTHER) == ONE
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_what_is_no_name_is_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("half a na")
    assert replica_name(tmp_path, OTHER) == OTHER
    assert replica_name(tmp_path, ONE) == OTHER


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataDirUnusable):
        replica_name(tmp_path / "none", ONE)
    (tmp_path / FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(DataDirUnusable):
        replica_name(tmp_path, ONE)

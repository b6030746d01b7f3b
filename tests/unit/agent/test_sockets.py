from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sds.agent.sockets import closed_folder


@pytest.fixture
def base() -> Iterator[Path]:
    """Two folders that everybody may enter (pytest's are private)."""
    made = Path(tempfile.mkdtemp(dir="/tmp")).resolve()
    made.chmod(0o755)
    inner = made / "inner"
    inner.mkdir()
    inner.chmod(0o755)
    yield inner
    shutil.rmtree(made)


@pytest.mark.parametrize("bits", [0o755, 0o750, 0o711])
def test_a_folder_that_others_or_a_group_may_pass_is_fine(base: Path, bits: int) -> None:
    base.chmod(bits)
    assert closed_folder(base / "sds.sock", 0o666) is None


def test_the_outermost_closed_folder_is_named(base: Path) -> None:
    base.chmod(0o700)
    assert closed_folder(base / "sds.sock", 0o666) == base
    base.parent.chmod(0o700)
    assert closed_folder(base / "sds.sock", 0o666) == base.parent


def test_a_link_is_followed_to_the_folder_that_counts(base: Path) -> None:
    base.chmod(0o700)
    link = base.parent / "link"
    link.symlink_to(base)
    assert closed_folder(link / "sds.sock", 0o660) == base


def test_a_socket_for_its_owner_alone_may_lie_anywhere(base: Path) -> None:
    base.chmod(0o700)
    assert closed_folder(base / "sds.sock", 0o600) is None

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A 0700 folder with a path short enough for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="n-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)

"""The private folder in which grpcio's own socket lies."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "grpc-"
_LONGEST = 80  # bytes, which leaves room for a socket's name within 107 (unix(7))


def private_folder(data_dir: Path) -> Path:
    """A new 0700 folder below `data_dir`, or below the system's temporary folder when that path would be too long.

    The caller holds the lock of `data_dir`: folders that a killed process left there are removed. Raises OSError.
    """
    for stale in data_dir.glob(f"{_PREFIX}*"):
        shutil.rmtree(stale, ignore_errors=True)
    parent = data_dir.absolute()
    if len(os.fsencode(parent)) + len(f"/{_PREFIX}12345678") > _LONGEST:
        parent = Path(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))

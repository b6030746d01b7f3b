"""By which name this server is known among the replicas: the same after a restart, so that it finds what it began."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sds.server.datadir import DataDirUnusable

FILE = "replica"
"""In the data folder, which one server alone uses at a time."""
_NAME = re.compile(r"[0-9a-f]{32}", re.ASCII)


def replica_name(data_dir: Path, fresh: str) -> str:
    """The name in the folder; `fresh`, 32 hex digits, where there is none yet. Blocks. Raises DataDirUnusable."""
    path = data_dir / FILE
    try:
        found = path.read_text(encoding="ascii").strip()
        if _NAME.fullmatch(found):
            return found
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise DataDirUnusable(f"{path} cannot be read: {_why(error)}") from None
    new = path.with_suffix(".new")  # whole or not at all: half a name after a crash would be another one
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(fresh + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise DataDirUnusable(f"{path} cannot be written: {_why(error)}") from None
    return fresh


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "it holds something else"

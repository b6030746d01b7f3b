"""Everything that lies in a folder, for searches of what must not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path


def _every(_path: Path) -> bool:
    return True


def contents(folder: Path, wanted: Callable[[Path], bool] = _every) -> Iterator[tuple[Path, bytes]]:
    """Each regular file below `folder` and what is in it. One that goes before it could be read lies there no more."""
    for path in folder.rglob("*"):
        if path.is_file() and wanted(path):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            yield path, content

"""Writing an export as it comes: to standard output, or into a file that is there whole or not at all."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sds.cli.errors import CliError, ExitCode
from sds.cli.output import writable

_PIECE = 256 * 1024
_TELL_EVERY = 5000
"""Lines between two words on how far it is."""


def export_lines(lines: Iterable[bytes], file: Path | None) -> None:
    """Each line with an end. Raises CliError, and what `lines` raises; then no file is left."""
    if file is None:
        with writable():
            _write(lines, sys.stdout.buffer)
        return
    with _whole(file) as stream:
        written = _write(_told(lines), stream)
    sys.stderr.write(f"Wrote {written} lines to {file}.\n")


def _write(lines: Iterable[bytes], stream: BinaryIO) -> int:
    """In pieces of some size: a system call a line would be slow."""
    held = bytearray()
    count = 0
    for line in lines:
        held += line
        held += b"\n"
        count += 1
        if len(held) >= _PIECE:
            stream.write(held)
            held.clear()
    stream.write(held)
    stream.flush()
    return count


def _told(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Says at a terminal how far it is, in one line that is written over."""
    if not sys.stderr.isatty():
        yield from lines
        return
    for count, line in enumerate(lines, start=1):
        if count % _TELL_EVERY == 0:
            sys.stderr.write(f"\r{count} lines")
            sys.stderr.flush()
        yield line
    sys.stderr.write("\r")


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A new file (0600) beside, renamed at the end; an inventory is nobody else's."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        number = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CliError(ExitCode.USAGE, f"{path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(number, "wb") as stream:
            yield stream
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        raise CliError(ExitCode.FAILED, f"{path} cannot be written: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)

"""Reading what a command is given by file, and writing what nobody else may read."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from ca.masked import Masked
from sds.cli.errors import CliError, ExitCode

MAX_BYTES = 64 * 1024 * 1024
STDIN = "-"


def read_bytes(path: str) -> bytes:
    """The file's content, or standard input's for ``-``. Raises CliError."""
    try:
        if path == STDIN:
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(path).open("rb") as stream:
                content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise CliError(ExitCode.USAGE, f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise CliError(ExitCode.USAGE, f"{path} is larger than {MAX_BYTES} bytes")
    return content


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner reads (0600), whole or not at all; what stood there is replaced.

    The name never shows a file with wider permissions: a new one is made beside it and renamed.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        number = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(number, "w", encoding="ascii") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CliError(ExitCode.FAILED, f"{path} cannot be written: {error.strerror}") from None


def shown_secret(name: str, value: Masked[str], file: Path | None) -> dict[str, str]:
    """What is printed of a secret that is shown once: itself, or the file that it was written to."""
    if file is None:
        return {name: value.reveal()}
    write_secret(file, value.reveal() + "\n")
    return {f"{name}_file": str(file)}


def check_writable(path: Path) -> None:
    """Raise CliError if `write_secret` could not work: better before a one-time token is made than after."""
    if path.is_dir():
        raise CliError(ExitCode.USAGE, f"{path} is a folder; name a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise CliError(ExitCode.USAGE, f"{path} cannot be written: check its folder and its permissions")

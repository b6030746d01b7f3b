"""The file with a token's PIN: ours, closed to others, and read anew each time, so that a new PIN needs no restart."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ca.errors import AuthorityUnavailable
from ca.masked import Masked

MAX_PIN_BYTES = 256


def read_pin(path: Path) -> Masked[str]:
    """The PIN, without the line's end. Raises AuthorityUnavailable, which shows nothing of it. Blocks.

    A link is followed, as secrets that are mounted into a pod are links. The file must be a regular one of ours or
    root's, which others can neither read nor write and the group cannot write.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise AuthorityUnavailable(f"the PIN file {path} cannot be opened: {error.strerror}") from None
    try:
        _judge(path, os.fstat(descriptor))
        content = os.read(descriptor, MAX_PIN_BYTES + 1)
    except OSError as error:
        raise AuthorityUnavailable(f"the PIN file {path} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    return _pin(path, content)


def _judge(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise AuthorityUnavailable(f"the PIN file {path} is not a regular file")
    if found.st_uid not in (0, os.geteuid()):
        raise AuthorityUnavailable(f"the PIN file {path} belongs to another user (uid {found.st_uid})")
    if found.st_mode & 0o027:
        mode = stat.S_IMODE(found.st_mode)
        raise AuthorityUnavailable(f"others may use the PIN file {path} (mode {mode:04o}): chmod 600 it")


def _pin(path: Path, content: bytes) -> Masked[str]:
    try:
        pin = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise AuthorityUnavailable(f"the PIN file {path} is not text") from None
    if not pin or len(content) > MAX_PIN_BYTES or "\0" in pin or "\n" in pin:
        raise AuthorityUnavailable(f"the PIN file {path} does not hold one line with a PIN")
    return Masked(pin)

"""Files with credentials: ours, closed to others, and read anew each time, so that a new one needs no restart."""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable
from pathlib import Path

from ca.masked import Masked
from sds.vault.auth.method import CredentialUnusable

MAX_BYTES = 64 * 1024


def read_secret(path: Path, what: str, *, private: bool = True) -> Masked[str]:
    """The one line in a file. Blocks. Raises CredentialUnusable, which shows nothing of it.

    A link is followed, as secrets that are mounted into a pod are links. A `private` one must be a regular file of ours
    or root's, which others can neither read nor write and the group cannot write; one that is not (a pod's own token,
    which Kubernetes leaves readable) must be a regular file that nobody else can write.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise CredentialUnusable(f"{what} {path} cannot be opened: {error.strerror}") from None
    try:
        _judge(path, what, os.fstat(descriptor), private=private)
        content = os.read(descriptor, MAX_BYTES + 1)
    except OSError as error:
        raise CredentialUnusable(f"{what} {path} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    try:
        text = content.decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(content) > MAX_BYTES or not text.isprintable() or " " in text:
        raise CredentialUnusable(f"{what} {path} does not hold one line with a credential")
    return Masked(text)


def check_private(path: Path, what: str) -> None:
    """The same demands on a file that somebody else will read. Blocks. Raises CredentialUnusable."""
    try:
        found = path.stat()
    except OSError as error:
        raise CredentialUnusable(f"{what} {path} cannot be read: {error.strerror}") from None
    _judge(path, what, found, private=True)


def file_stamp(path: Path) -> Hashable:
    """Another value when the file has been written, replaced, taken away, or closed to others."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _judge(path: Path, what: str, found: os.stat_result, *, private: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise CredentialUnusable(f"{what} {path} is not a regular file")
    if found.st_uid not in (0, os.geteuid()):
        raise CredentialUnusable(f"{what} {path} belongs to another user (uid {found.st_uid})")
    if found.st_mode & (0o027 if private else 0o022):
        mode = stat.S_IMODE(found.st_mode)
        raise CredentialUnusable(f"others may use {what} {path} (mode {mode:04o}): chmod 600 it")

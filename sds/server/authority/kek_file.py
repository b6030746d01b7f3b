"""The key-encryption key's file: owned by us, mode 0600, replaced whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ca.errors import InvalidKeyRing, KeyUnwrapFailed
from ca.kek import KEK_BYTES, MAX_FILE_BYTES, Kek, KeyRing, parse_key_ring
from ca.masked import Masked

MODE = 0o600


class KekUnusable(KeyUnwrapFailed):
    """The key-encryption keys cannot be had or kept; the message says what to do and shows nothing of them."""


class KekFileUnusable(KekUnusable):
    """The key file cannot be used; the message says what to do and shows nothing of it."""


class KekFile:
    """Blocks: call it from a worker thread."""

    def __init__(self, path: Path, random_bytes: Callable[[int], bytes]) -> None:
        """`random_bytes` must be fit for secrets (os.urandom)."""
        self.path = path
        self._random_bytes = random_bytes

    def load(self) -> KeyRing | None:
        """The keys, or None if there is no file. Raises KekFileUnusable.

        1. A regular file, no link. 2. Owned by us (or root), closed to everyone else. 3. A key ring.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KekFileUnusable(f"the key file {self.path} cannot be opened: {error.strerror}") from None
        try:
            self._judge(os.fstat(descriptor))  # 1, 2
            content = os.read(descriptor, MAX_FILE_BYTES + 1)
        finally:
            os.close(descriptor)
        try:
            return parse_key_ring(Masked(content.decode("ascii", errors="replace")))  # 3
        except InvalidKeyRing as error:
            raise KekFileUnusable(f"the key file {self.path} is damaged: {error}; restore it from a backup") from None

    def create(self) -> KeyRing:
        """A ring with one new key, durable when this returns. Raises KekFileUnusable, also if the file exists."""
        ring = KeyRing(self.new_key())
        self.put_first(ring)
        return ring

    def put_first(self, ring: KeyRing) -> None:
        """A file with `ring`, durable when this returns. Raises KekFileUnusable, also if there is one already."""
        temporary = self._write_beside(ring)
        try:
            os.link(temporary, self.path)  # unlike rename, never replaces a file that another process just made
        except OSError as error:
            raise KekFileUnusable(f"the key file {self.path} cannot be made: {error.strerror}") from None
        finally:
            with suppress(OSError):
                temporary.unlink()
        self._sync_folder()

    def replace(self, ring: KeyRing) -> None:
        """Put `ring` in the file's place, durable when this returns. Raises KekFileUnusable: the old one stands."""
        temporary = self._write_beside(ring)
        try:
            temporary.rename(self.path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise KekFileUnusable(f"the key file {self.path} cannot be replaced: {error.strerror}") from None
        self._sync_folder()

    def new_key(self) -> Kek:
        return Kek.of(Masked(self._random_bytes(KEK_BYTES)))

    def _judge(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise KekFileUnusable(f"the key file {self.path} is not a regular file")
        if found.st_uid not in (0, os.geteuid()):
            raise KekFileUnusable(f"the key file {self.path} belongs to another user (uid {found.st_uid})")
        if found.st_mode & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            raise KekFileUnusable(
                f"others may use the key file {self.path} (mode {mode:04o}): chmod 600 it, and rotate the key "
                "(sds kek rotate) if somebody may have read it"
            )

    def _write_beside(self, ring: KeyRing) -> Path:
        temporary = self.path.with_name(f".{self.path.name}.{self._random_bytes(4).hex()}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, MODE)
                file.write(ring.encode().reveal().encode())
                file.flush()
                os.fsync(descriptor)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise KekFileUnusable(f"a key file cannot be written in {self.path.parent}: {error.strerror}") from None
        return temporary

    def _sync_folder(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

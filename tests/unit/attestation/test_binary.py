from __future__ import annotations

import hashlib
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from attestation.workload.binary import BinaryDigests, filesystem_type
from attestation.workload.proc import Unreadable
from tests.unit.attestation.workload_fakes import wall


class TestDigests:
    def open(self, path: Path) -> int:
        return os.open(path, os.O_PATH)

    def test_cached_while_unchanged(self, tmp_path: Path) -> None:
        file = tmp_path / "f"
        file.write_bytes(b"one")
        later = wall() + timedelta(seconds=10)
        digests = BinaryDigests(1000, lambda: later)
        fd = self.open(file)
        first = digests.digest(fd)
        assert first == hashlib.sha256(b"one").hexdigest() == digests.digest(fd)
        assert len(digests._cache) == 1
        times = file.stat()
        file.write_bytes(b"two")  # the same size, inode and, below, modification time
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert digests.digest(fd) == hashlib.sha256(b"two").hexdigest()
        os.close(fd)

    def test_a_file_changed_just_now_is_not_cached(self, tmp_path: Path) -> None:
        file = tmp_path / "f"
        file.write_bytes(b"one")
        digests = BinaryDigests(1000, wall)
        fd = self.open(file)
        digests.digest(fd)
        assert len(digests._cache) == 0
        os.close(fd)

    def test_a_file_that_changes_while_it_is_read_has_no_digest(self, tmp_path: Path) -> None:
        file = tmp_path / "f"
        file.write_bytes(b"one")

        def now() -> datetime:
            file.write_bytes(b"longer")  # the clock is asked between the first look and the reading
            return wall()

        fd = self.open(file)
        with pytest.raises(Unreadable, match="changed"):
            BinaryDigests(1000, now).digest(fd)
        os.close(fd)

    def test_the_cache_is_bounded(self, tmp_path: Path) -> None:
        later = wall() + timedelta(seconds=10)
        digests = BinaryDigests(1000, lambda: later)
        for i in range(300):
            file = tmp_path / str(i)
            file.write_bytes(b"x")
            fd = self.open(file)
            digests.digest(fd)
            os.close(fd)
        assert len(digests._cache) == 256

    def test_bounds(self, tmp_path: Path) -> None:
        file = tmp_path / "f"
        file.write_bytes(b"x" * 1000)
        fd = self.open(file)
        assert BinaryDigests(1000, wall).digest(fd)
        with pytest.raises(Unreadable):
            BinaryDigests(999, wall).digest(fd)
        os.close(fd)


MOUNTINFO = b"""\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:5 / /dev rw,nosuid - devtmpfs devtmpfs rw
40 22 0:50 / /srv/m/a\\040-\\040b rw,nosuid,nodev - fuse.sshfs host:/x rw,user_id=1000
garbage
"""


@pytest.mark.parametrize(
    ("mount", "kind"), [(b"22", "ext4"), (b"23", "devtmpfs"), (b"40", "fuse.sshfs"), (b"2", ""), (b"99", "")]
)
def test_filesystem_types(mount: bytes, kind: str) -> None:
    assert filesystem_type(MOUNTINFO, mount) == kind

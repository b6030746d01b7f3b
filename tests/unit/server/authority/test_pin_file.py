from __future__ import annotations

import os
from pathlib import Path

import pytest

from ca.errors import AuthorityUnavailable
from sds.server.authority.pin_file import MAX_PIN_BYTES, read_pin

CANARY = "canary-pin"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pin"
    path.touch(mode=0o600)
    path.write_text(f"{CANARY}\n")
    return path


@pytest.mark.parametrize("text", [CANARY, f"{CANARY}\n", f"{CANARY}\r\n"])
def test_the_line_is_the_pin(file: Path, text: str) -> None:
    file.write_text(text)
    assert read_pin(file).reveal() == CANARY


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o440])
def test_modes_that_keep_others_out(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert read_pin(file).reveal() == CANARY


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602, 0o777])
def test_modes_that_let_others_in(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(AuthorityUnavailable, match="others may use the PIN file"):
        read_pin(file)


def test_a_link_is_followed(file: Path, tmp_path: Path) -> None:
    """As Kubernetes mounts secrets."""
    link = tmp_path / "link"
    link.symlink_to(file)
    assert read_pin(link).reveal() == CANARY


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\xff\xfe", b"one\ntwo\n", b"a\0b", b"x" * (MAX_PIN_BYTES + 1), b"x" * 10_000]
)
def test_what_is_no_pin(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(AuthorityUnavailable, match="PIN file") as caught:
        read_pin(file)
    assert len(content) < 3 or content[:8].decode(errors="replace") not in str(caught.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    for path in (tmp_path / "missing", tmp_path, fifo):
        with pytest.raises(AuthorityUnavailable, match="PIN file"):
            read_pin(path)


def test_a_file_of_another_user(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("kernel: only root can give a file away")
    os.chown(file, 12345, -1)
    with pytest.raises(AuthorityUnavailable, match="belongs to another user"):
        read_pin(file)

"""A control group that is named as a container runtime names one, and this process in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_HIERARCHIES = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/systemd"))


@contextmanager
def container_group(container: str) -> Iterator[Path]:
    """As Docker makes it, in the first hierarchy of this kernel where we may. Skips where there is none."""
    for hierarchy in _HIERARCHIES:
        made = hierarchy / f"docker-{container}.scope"
        try:
            made.mkdir()
        except OSError:
            continue
        if not (made / "cgroup.procs").exists():  # the folder of all hierarchies, and no hierarchy itself
            made.rmdir()
            continue
        try:
            yield made
        finally:
            made.rmdir()
        return
    pytest.skip("kernel: we may make no control group here")


@contextmanager
def in_container(container: str) -> Iterator[None]:
    """This process."""
    with container_group(container) as made:
        (made / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (made.parent / "cgroup.procs").write_text(str(os.getpid()))

"""Which container a process is in, by the control groups that runtimes make: for people, and never a fact."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.attestor import Process
from attestation.workload.container import Containers, container_id
from attestation.workload.proc import ProcFs
from tests.fakes.containers import container_group
from tests.unit.attestation.proctree import FakeProc

ID = "3f4e" * 16
OTHER = "0a1b" * 16


@pytest.mark.parametrize(
    "line",
    [
        f"0::/system.slice/docker-{ID}.scope",
        f"0::/docker/{ID}",
        f"12:memory:/docker/{ID}",
        f"1:name=systemd:/kubepods/burstable/pod0c2e2a7a-1111-2222-3333-444455556666/{ID}",
        f"0::/kubepods.slice/kubepods-pod0c2e2a7a.slice/cri-containerd-{ID}.scope",
        f"0::/kubepods.slice/kubepods-besteffort.slice/crio-{ID}.scope",
        f"0::/machine.slice/libpod-{ID}.scope/container",
        f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
        f"0::/system.slice/containerd.service/kubepods-burstable-pod0c2e.slice:cri-containerd:{ID}",
        f"0::/../../docker-{ID}.scope",  # seen from inside of another one
        f"0::/docker/{OTHER}/docker/{ID}",  # the innermost: a node that is a container itself
        f"3:cpuset:/\n2:cpu:/user.slice\n1:pids:/docker/{ID}\n0::/",  # the hybrid hierarchy
    ],
)
def test_as_runtimes_name_it(line: str) -> None:
    assert container_id(line.encode() + b"\n") == ID


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        "0::/",
        "0::/user.slice/user-1000.slice/session-2.scope",
        "0::/system.slice/sds-agent.service",
        f"0::/docker-{ID[:-1]}.scope",
        f"0::/docker-{ID}0.scope",
        f"0::/docker-{ID.upper()}.scope",
        f"0::/{ID}.service",
        ID,
        f"0:{ID}",
        "\x00\xff",
    ],
)
def test_what_names_no_container(content: str) -> None:
    assert container_id(content.encode("utf-8", "surrogateescape")) == ""


@given(st.binary(max_size=400))
def test_whatever_stands_there_gives_an_id_or_nothing(content: bytes) -> None:
    found = container_id(content)
    assert found == "" or (len(found) == 64 and set(found) <= set("0123456789abcdef"))


def test_a_process_that_has_gone_or_cannot_be_read_is_in_none(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path)
    folder = proc.add(7)
    named = Containers(proc.fs).id_of
    assert named(Process(7, 1000, 1000, 5000)) == ""  # its cgroup file is missing
    (folder / "cgroup").write_text(f"0::/docker/{ID}\n")
    assert named(Process(7, 1000, 1000, 5000)) == ID
    assert named(Process(7, 1000, 1000, 4999)) == ""  # another process has its PID now
    assert named(Process(8, 1000, 1000, 5000)) == ""


def test_a_real_process_in_a_real_control_group() -> None:
    with container_group(ID) as group, subprocess.Popen(["sleep", "60"]) as child:
        try:
            process = ProcFs().identify(child.pid, os.getuid(), os.getgid())
            assert Containers().id_of(process) != ID
            (group / "cgroup.procs").write_text(str(child.pid))
            assert Containers().id_of(process) == ID
        finally:
            child.kill()
            child.wait()
    assert Containers().id_of(process) == ""

"""What every workload attestor must do, whatever it reads. A new one joins the catalogue and is held to this."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from attestation.attestor import Process, WorkloadAttestor
from attestation.catalog import WORKLOAD_ATTESTORS, WorkloadParts
from attestation.errors import AttestationRefused
from attestation.workload.proc import ProcFs


class Silence:
    def info(self, event: str, **facts: object) -> None:
        pass


@pytest.fixture(params=WORKLOAD_ATTESTORS)
def attestor(request: pytest.FixtureRequest) -> WorkloadAttestor:
    made = WORKLOAD_ATTESTORS[request.param](WorkloadParts(Silence(), lambda: datetime.now(UTC)))
    assert made is not None
    return made


@pytest.fixture(params=WORKLOAD_ATTESTORS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def child() -> Iterator[Process]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        try:
            yield ProcFs().identify(process.pid, os.geteuid(), os.getegid())
        finally:
            process.kill()


def test_facts_bear_the_attestors_name_and_stay_the_same(name: str, child: Process) -> None:
    attestor = WORKLOAD_ATTESTORS[name](WorkloadParts(Silence(), lambda: datetime.now(UTC)))
    assert attestor is not None
    facts = attestor.attest(child)
    assert {selector.type for selector in facts} <= {name}
    assert attestor.attest(child) == facts


def test_another_process_of_that_pid_is_refused(attestor: WorkloadAttestor, child: Process) -> None:
    for start_time in (0, child.start_time - 1, child.start_time + 1, 2**63):
        with pytest.raises(AttestationRefused):
            attestor.attest(Process(child.pid, child.uid, child.gid, start_time))


@pytest.mark.parametrize("pid", [-1, 0, 2**22 + 1, 2**31, 2**63])
def test_nobody_is_refused(attestor: WorkloadAttestor, pid: int) -> None:
    with pytest.raises(AttestationRefused):
        attestor.attest(Process(pid, 0, 0, 1))


def test_the_dead_are_refused(attestor: WorkloadAttestor) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        known = ProcFs().identify(process.pid, os.geteuid(), os.getegid())
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(AttestationRefused):  # a zombie
            attestor.attest(known)
    with pytest.raises(AttestationRefused):
        attestor.attest(known)

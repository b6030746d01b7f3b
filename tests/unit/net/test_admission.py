"""Open files as a budget: a process costs one, each of its connections three."""

from __future__ import annotations

import pytest

from attestation.attestor import Process
from sds.net.admission import PER_PEER, TOTAL, LocalAdmission
from sds.net.process import LocalProcess
from tests.fakes.clock import FakeClock


def process(pid: int, uid: int = 1000) -> LocalProcess:
    return LocalProcess(Process(pid, uid=uid, gid=1000, start_time=1), pidfd=-1, start_time=lambda _: 1)


def connect(admission: LocalAdmission, peer: LocalProcess) -> str | None:
    """As the table and the relay do: the process is referenced before it is admitted."""
    peer.references += 1
    refusal = admission.admit(peer)
    if refusal is not None:
        peer.references -= 1
    return refusal


def disconnect(admission: LocalAdmission, peer: LocalProcess) -> None:
    admission.release(peer)
    peer.references -= 1


def admission(descriptors: int, total: int = 100, per_uid: int = 100) -> LocalAdmission:
    return LocalAdmission(total=total, per_uid=per_uid, clock=FakeClock(), descriptors=descriptors)


@pytest.mark.parametrize(("descriptors", "one_process", "many"), [(16, 5, 4), (3, 0, 0), (4, 1, 1), (13, 4, 3)])
def test_processes_cost_more_than_connections(descriptors: int, one_process: int, many: int) -> None:
    single, table = admission(descriptors), process(1)
    assert [connect(single, table) for _ in range(one_process + 1)] == [None] * one_process + [TOTAL]
    each = admission(descriptors)
    assert [connect(each, process(pid)) for pid in range(many + 1)] == [None] * many + [TOTAL]


def test_everything_comes_back() -> None:
    budget, first, second = admission(descriptors=11), process(1), process(2)
    for _ in range(50):
        assert connect(budget, first) is None
        assert connect(budget, second) is None
        assert connect(budget, first) is None
        assert connect(budget, second) == TOTAL
        disconnect(budget, first)
        disconnect(budget, second)
        disconnect(budget, first)


def test_one_user_cannot_take_every_open_file() -> None:
    budget, greedy = admission(descriptors=1000, total=10_000, per_uid=10_000), process(1)
    assert [connect(budget, greedy) for _ in range(400)][-1] == PER_PEER
    assert [connect(budget, process(pid, uid=1001)) for pid in range(2, 12)] == [None] * 10
    assert connect(budget, greedy) == PER_PEER


def test_a_refusal_for_another_reason_takes_nothing() -> None:
    budget, peer = admission(descriptors=8, per_uid=1), process(1)
    assert connect(budget, peer) is None
    for _ in range(10):
        assert connect(budget, peer) == PER_PEER
    disconnect(budget, peer)
    assert connect(budget, process(2)) is None

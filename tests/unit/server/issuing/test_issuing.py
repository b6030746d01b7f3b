"""Batches prepared and signed here and in worker processes: the same answers, and what happens when a worker dies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from attestation.spiffe_id import SpiffeId
from ca.csr import build_csr
from ca.errors import AlreadyIssued, AuthorityUnavailable, CsrRefused, IssuanceRefused
from ca.intent import CertificateIntent, IssuedCertificate
from ca.keys import KeyType, generate, key_hash
from ca.profile import IssuancePolicy, Profile, ProfileName
from ca.svid import parse_svid
from ca.verify import verify_svid
from sds.server.issuing.adaptive import FEW, Adaptive
from sds.server.issuing.frames import MAX_FRAME, FrameError, receive, send
from sds.server.issuing.orders import Issuing, Order
from sds.server.issuing.threads import InThreads
from sds.server.issuing.workers import InWorkers, WorkerGone
from tests.fakes.ca import TRUST_DOMAIN, make_authority, make_bundle_of, make_issuer
from tests.fakes.clock import EPOCH

AUTHORITY = make_authority()
KEY = generate(KeyType.ECDSA_P256)
CSR = build_csr(KEY)
WEB = SpiffeId(TRUST_DOMAIN, "/web")
MAX_CSR = 4096


def order(path: str = "/web", csr: bytes = CSR, **more: object) -> Order:
    return Order(csr, ProfileName.WORKLOAD, SpiffeId(TRUST_DOMAIN, path), **more)  # type: ignore[arg-type]


class Counted:
    """Implements WorkerObserver."""

    def __init__(self) -> None:
        self.running = 0
        self.lost = 0

    def signing_workers(self, running: int) -> None:
        self.running = running

    def signing_worker_lost(self) -> None:
        self.lost += 1


@pytest.fixture
async def workers() -> AsyncIterator[InWorkers]:
    made = InWorkers(IssuancePolicy(), MAX_CSR, 2, Counted())
    yield made
    await made.close()


async def started(workers: InWorkers) -> int:
    """Waits for the first worker; its pid."""
    async with asyncio.timeout(20):
        while (worker := workers.ready()) is None:
            await asyncio.sleep(0.02)
    return worker.process.pid


@pytest.fixture(params=["threads", "workers"])
async def issuing(request: pytest.FixtureRequest, workers: InWorkers) -> AsyncIterator[Issuing]:
    if request.param == "workers":
        await started(workers)
        yield workers
        return
    with ThreadPoolExecutor(2) as executor:
        yield InThreads(make_issuer(), executor, MAX_CSR)


async def test_a_batch_is_answered_order_by_order(issuing: Issuing) -> None:
    """What is refused keeps its place, and harms nobody else."""
    orders = [
        order(dns_names=("web.test",)),
        order(csr=b"\x30\x00"),
        order("/api", ttl=timedelta(minutes=5)),
        order(csr=bytes(MAX_CSR + 1)),
        order("/sds/server"),
        order("/last"),
    ]
    batch = await issuing.prepare(orders, AUTHORITY, EPOCH)
    kinds = [type(one) for one in batch.intents]
    assert kinds == [CertificateIntent, CsrRefused, CertificateIntent, CsrRefused, IssuanceRefused, CertificateIntent]
    assert "belong to servers and agents" in str(batch.intents[4])
    answers = await batch.issue([0, 2, 5])
    assert [type(answer) for answer in answers] == [IssuedCertificate] * 3
    for place, answer in zip((0, 2, 5), answers, strict=True):
        assert isinstance(answer, IssuedCertificate)
        intent = answer.intent
        assert intent == batch.intents[place]
        svid = parse_svid(answer.chain)
        verify_svid(svid, make_bundle_of(AUTHORITY), EPOCH)
        assert (svid.spiffe_id, svid.serial, svid.key_hash) == (intent.spiffe_id, intent.serial, intent.key_hash)
        assert (svid.not_before, svid.not_after) == (intent.not_before, intent.not_after)
        assert intent.key_hash == key_hash(KEY.public_key())
    assert answers[1].intent.not_after == EPOCH + timedelta(minutes=5)
    assert answers[0].intent.dns_names == ("web.test",)
    assert len({answer.intent.serial for answer in answers}) == 3


async def test_a_batch_is_signed_once_and_only_what_was_chosen(issuing: Issuing) -> None:
    batch = await issuing.prepare([order(), order("/api")], AUTHORITY, EPOCH)
    (answer,) = await batch.issue([1])
    assert answer.intent.spiffe_id.path == "/api"
    for chosen in ([0], [1], []):
        with pytest.raises(AlreadyIssued):
            await batch.issue(chosen)


async def test_an_authority_that_does_not_sign_now_signs_nothing(issuing: Issuing) -> None:
    later = EPOCH + timedelta(days=91)
    (refusal,) = (await issuing.prepare([order()], AUTHORITY, later)).intents
    assert isinstance(refusal, AuthorityUnavailable)


async def test_many_batches_at_once_under_changing_authorities(issuing: Issuing) -> None:
    other = make_authority()

    async def one(number: int) -> str:
        authority = (AUTHORITY, other)[number % 2]
        batch = await issuing.prepare([order(f"/w{number}")] * 5, authority, EPOCH)
        answers = await batch.issue(range(5))
        for answer in answers:
            verify_svid(parse_svid(answer.chain), make_bundle_of(authority), EPOCH)
            assert answer.intent.authority_id == authority.authority.id
            assert answer.intent.spiffe_id.path == f"/w{number}"
        return answers[0].intent.serial

    assert len(set(await asyncio.gather(*map(one, range(30))))) == 30


async def test_a_worker_that_is_killed_is_replaced_and_its_batches_are_refused(workers: InWorkers) -> None:
    pid = await started(workers)
    batch = await workers.prepare([order()], AUTHORITY, EPOCH)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(AuthorityUnavailable, match="ask again"):
        await batch.issue([0])
    with pytest.raises(AlreadyIssued):
        await batch.issue([0])
    assert await started(workers) != pid
    assert workers._observer.lost == 1
    batch = await workers.prepare([order()], AUTHORITY, EPOCH)
    assert isinstance((await batch.issue([0]))[0], IssuedCertificate)


async def test_workers_take_over_other_limits(workers: InWorkers) -> None:
    await started(workers)
    short = Profile(str(ProfileName.WORKLOAD), default_ttl=timedelta(minutes=2), max_ttl=timedelta(minutes=3))
    await workers.use(IssuancePolicy({short.name: short}))
    (intent,) = (await workers.prepare([order()], AUTHORITY, EPOCH)).intents
    assert isinstance(intent, CertificateIntent)
    assert intent.not_after == EPOCH + timedelta(minutes=2)


async def test_small_batches_and_keys_that_are_elsewhere_stay_in_this_process(workers: InWorkers) -> None:
    class Elsewhere:
        public_key = AUTHORITY.signer.public_key
        sign = staticmethod(AUTHORITY.signer.sign)

    with ThreadPoolExecutor(1) as executor:
        adaptive = Adaptive(InThreads(make_issuer(), executor, MAX_CSR), workers)
        for orders, authority in (
            ([order()] * (FEW - 1), AUTHORITY),
            ([order()] * FEW, type(AUTHORITY).open(AUTHORITY.authority, Elsewhere())),
        ):
            batch = await adaptive.prepare(orders, authority, EPOCH)
            assert isinstance((await batch.issue([0]))[0], IssuedCertificate)
        assert workers._starting is None
        assert workers._workers == []
        first = await adaptive.prepare([order()] * FEW, AUTHORITY, EPOCH)  # while a worker starts
        assert isinstance((await first.issue([0]))[0], IssuedCertificate)
        pid = await started(workers)
        os.kill(pid, signal.SIGSTOP)
        pending = asyncio.create_task(adaptive.prepare([order()] * FEW, AUTHORITY, EPOCH))
        await asyncio.sleep(0.05)
        assert not pending.done()  # it has gone there
        os.kill(pid, signal.SIGKILL)
        batch = await pending  # nothing was signed, so it came back
        assert isinstance((await batch.issue([0]))[0], IssuedCertificate)


async def test_a_worker_knows_no_more_than_it_needs(workers: InWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variables of the server's, no descriptor but its socket and standard error, no core dumps; signals are not its."""
    monkeypatch.setenv("SDS_SERVER_DATABASE__URL", "postgresql://u:CANARY@h/d")
    pid = await started(workers)
    assert b"CANARY" not in Path(f"/proc/{pid}/environ").read_bytes()
    files = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}
    assert sum(file.startswith("socket:") for file in files) == 1
    assert not any("sqlite" in file for file in files)
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert next(line for line in limits.splitlines() if line.startswith("Max core file size")).split()[4] == "0"
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert isinstance((await workers.prepare([order()], AUTHORITY, EPOCH)).intents[0], CertificateIntent)


async def test_workers_end_with_their_server(workers: InWorkers) -> None:
    pid = await started(workers)
    await workers.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(WorkerGone):
        await workers.prepare([order()], AUTHORITY, EPOCH)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x00\x00",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01\x00",
        b"\x00\x00\x00\x02zz",
        b"\x00\x00\x00\x05i\x01\x00\x00\x00",
    ],
)
def test_frames_that_are_none(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(FrameError):
            receive(ours)


def test_a_frame_is_bounded() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(FrameError, match="too long"):
        send(ours, ("x", bytes(MAX_FRAME)))

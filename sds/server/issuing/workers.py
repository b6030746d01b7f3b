"""Preparing and signing in processes of their own, so that more than one core can issue.

A worker is started when there is first enough to do for it. One that ends is replaced; the batches that it had are
refused as unavailable, with nothing handed out, and their intents stand as those of a crash do.
"""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from itertools import count
from types import MappingProxyType
from typing import Any, Protocol

from ca.authority import SigningAuthority
from ca.errors import AlreadyIssued, AuthorityUnavailable, CaError
from ca.intent import CertificateIntent, IssuedCertificate
from ca.keys import to_pkcs8_der
from ca.profile import IssuancePolicy
from ca.signer import LocalSigner
from sds.logs import get_logger
from sds.server.issuing.frames import Frame, from_moment, from_span, read_only, receive, send, to_error, to_moment
from sds.server.issuing.orders import Order

_MODULE = "sds.server.issuing.worker"
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""All of its environment that a worker gets: others may hold what only the server is to know."""
_PATIENCE = 30.0  # seconds for one answer
_REST = 5.0  # seconds after a worker could not be started
_numbers = count(1)


class WorkerObserver(Protocol):
    """Is told how many workers there are, and of each that ended by itself."""

    def signing_workers(self, running: int) -> None: ...

    def signing_worker_lost(self) -> None: ...


class WorkerGone(Exception):
    """There is no worker to ask, or it ended while it was asked."""


class Worker:
    """The parent's end of one worker. It does one thing at a time, in the order in which it was told."""

    def __init__(self, policy: bytes, max_csr_bytes: int) -> None:
        """Starts the process and waits until it is ready. Blocks. Raises OSError."""
        ours, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
            )
        self._connection = ours
        self._connection.settimeout(_PATIENCE)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sds-signing-worker")
        self._signing: SigningAuthority | None = None
        self.waiting = 0
        self.gone = False
        try:
            self._ask(("start", policy, max_csr_bytes))
        except OSError:
            self.end()
            raise

    async def run(self, work: Callable[[], Frame]) -> Frame:
        """In the worker's thread. Raises WorkerGone."""
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except OSError as error:
            self.gone = True
            raise WorkerGone(f"a signing worker has ended: {error}") from error
        except RuntimeError as error:  # its thread has been let go
            raise WorkerGone("a signing worker was let go") from error
        finally:
            self.waiting -= 1

    def prepare(self, batch: int, orders: Sequence[Order], signing: SigningAuthority, now: datetime) -> Frame:
        """Blocks. Raises OSError, and CaError if the worker cannot use the authority."""
        if self._signing is not signing:
            self._signing = None
            key = to_pkcs8_der(_local(signing).private_key).reveal()
            told = self._ask(("authority", pickle.dumps(signing.authority), key))
            if told[0] == "failed":
                raise to_error(*told[1:])
            self._signing = signing
        plain = [
            (csr, str(profile), str(spiffe_id), dns_names, from_span(ttl), extra_sans, subject)
            for csr, profile, spiffe_id, dns_names, ttl, extra_sans, subject in orders
        ]
        return self._ask(("prepare", batch, from_moment(now), plain))

    def issue(self, batch: int, chosen: Sequence[int]) -> Frame:
        """Blocks. Raises OSError."""
        return self._ask(("issue", batch, list(chosen)))

    def use(self, policy: bytes) -> Frame:
        """Blocks. Raises OSError."""
        return self._ask(("policy", policy))

    def end(self) -> None:
        """Let it go, and wait for it a moment. Blocks."""
        self.gone = True
        self._connection.close()
        self._thread.shutdown(wait=False, cancel_futures=True)
        try:
            self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _ask(self, frame: Frame) -> Frame:
        send(self._connection, frame)
        return receive(self._connection)


class InWorkers:
    """Implements Issuing for authorities whose key is in this process. `limit`: the most workers at once."""

    def __init__(self, policy: IssuancePolicy, max_csr_bytes: int, limit: int, observer: WorkerObserver) -> None:
        self._policy = _pickled(policy)
        self._max_csr_bytes = max_csr_bytes
        self._limit = limit
        self._observer = observer
        self._workers: list[Worker] = []
        self._starting: asyncio.Task[None] | None = None
        self._closed = False
        self._log = get_logger(__name__)

    def ready(self) -> Worker | None:
        """The worker with the least to do, or None; then, or when all are busy, one more is on its way."""
        self._bury()
        best = min(self._workers, key=lambda worker: worker.waiting, default=None)
        busy = best is None or best.waiting > 0
        if busy and len(self._workers) < self._limit and self._starting is None and not self._closed:
            self._starting = asyncio.create_task(self._start())
        return best

    async def prepare(self, orders: Sequence[Order], signing: SigningAuthority, now: datetime) -> _Batch:
        """Raises WorkerGone, before anything is signed; CaError."""
        worker = self.ready()
        if worker is None:
            raise WorkerGone("no signing worker has been started yet")
        number = next(_numbers)
        answer = await worker.run(lambda: worker.prepare(number, orders, signing, now))
        if answer[0] != "prepared":
            raise to_error(*answer[1:])
        return _Batch(worker, number, signing, [_intent(*pair) for pair in zip(orders, answer[1], strict=True)])

    async def use(self, policy: IssuancePolicy) -> None:
        """Prepare by other limits from now on. Workers that cannot be told are let go."""
        self._policy = pickled = _pickled(policy)
        for worker in tuple(self._workers):
            with suppress(WorkerGone):
                await worker.run(lambda worker=worker: worker.use(pickled))  # type: ignore[misc]  # no other arguments
        self._bury()

    async def close(self) -> None:
        self._closed = True
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        workers, self._workers = self._workers, []
        await asyncio.gather(*(asyncio.to_thread(worker.end) for worker in workers))

    async def _start(self) -> None:
        try:
            worker = await asyncio.to_thread(Worker, self._policy, self._max_csr_bytes)
            self._workers.append(worker)
            self._observer.signing_workers(len(self._workers))
            self._log.info("a signing worker has started", pid=worker.process.pid, workers=len(self._workers))
        except OSError as error:
            self._log.warning("a signing worker cannot be started; this process signs by itself", reason=str(error))
            await asyncio.sleep(_REST)
        finally:
            self._starting = None

    def _bury(self) -> None:
        gone = [worker for worker in self._workers if worker.gone]
        for worker in gone:
            self._workers.remove(worker)
            self._observer.signing_worker_lost()
            self._observer.signing_workers(len(self._workers))
            self._log.error("a signing worker has ended and is replaced when needed", pid=worker.process.pid)
            asyncio.get_running_loop().run_in_executor(None, worker.end)


class _Batch:
    def __init__(
        self, worker: Worker, number: int, signing: SigningAuthority, intents: Sequence[CertificateIntent | CaError]
    ) -> None:
        self._worker = worker
        self._number = number
        self._signing = signing
        self._spent = False
        self.intents = intents

    async def issue(self, chosen: Sequence[int]) -> Sequence[IssuedCertificate | CaError]:
        if self._spent:
            raise AlreadyIssued("a batch is signed at most once")
        self._spent = True
        intents = [intent for intent in (self.intents[place] for place in chosen) if not isinstance(intent, CaError)]
        try:
            answer = await self._worker.run(lambda: self._worker.issue(self._number, chosen))
        except WorkerGone as gone:
            raise AuthorityUnavailable(f"{gone}; ask again") from gone
        if answer[0] != "issued":
            raise to_error(*answer[1:])
        above = self._signing.authority.chain
        return [
            IssuedCertificate(intent, one, (one, *above)) if isinstance(one, bytes) else to_error(*one)
            for intent, one in zip(intents, answer[1], strict=True)
        ]


def _intent(order: Order, told: tuple[Any, ...]) -> CertificateIntent | CaError:
    if len(told) == 2:
        return to_error(*told)
    serial, key_hash, not_before, not_after, authority_id, dns_names = told
    return CertificateIntent(
        serial,
        order.spiffe_id,
        order.profile,
        key_hash,
        to_moment(not_before),
        to_moment(not_after),
        authority_id,
        dns_names,
        order.extra_sans,
        order.subject,
    )


def _local(signing: SigningAuthority) -> LocalSigner:
    if not isinstance(signing.signer, LocalSigner):
        raise TypeError("a key that is elsewhere cannot be handed to a worker")
    return signing.signer


def _pickled(policy: IssuancePolicy) -> bytes:
    """Frozen values are made with read-only views of mappings, which `pickle` does not know by itself."""
    out = io.BytesIO()
    pickler = pickle.Pickler(out)
    pickler.dispatch_table = {MappingProxyType: lambda view: (read_only, (dict(view),))}
    pickler.dump(policy)
    return out.getvalue()

"""The agent as one thing that starts, serves and drains."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc

from sds.agent.api.listener import ApiListener
from sds.agent.datadir import DataFolder
from sds.agent.memory import Subscriptions
from sds.agent.upstream import UpstreamStatus
from sds.delivery.registry import StreamState
from sds.delivery.workload_api import PROTOCOL, WorkloadApi
from sds.http.unix import HttpServer
from sds.logs import Logger
from sds.net.listen import UnixListener
from sds.net.process import LocalProcess
from sds.net.relay import Relay

_DRAIN_POLL = 0.05  # seconds


class BackgroundTaskEnded(Exception):
    """A loop that must run for ever has ended: a mistake of ours. The process ends too, to be started again."""


class Streams(Protocol):
    def snapshot(self) -> tuple[StreamState, ...]: ...


class Server(Protocol):
    """The part of Upstream that health is judged by."""

    @property
    def status(self) -> UpstreamStatus: ...


class Backlog(Protocol):
    """The part of what waits for the server that is used here."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What `wiring` put together."""

    backend: grpc.aio.Server
    workload_api: WorkloadApi
    relay: Relay[LocalProcess]
    listener: UnixListener
    api: ApiListener | None
    http: Sequence[HttpServer]
    loops: Sequence[tuple[str, Coroutine[Any, Any, None]]]
    streams: Streams
    subscriptions: Subscriptions
    folder: DataFolder
    backlog: Backlog
    private_folder: Path
    executors: Sequence[ThreadPoolExecutor]
    log: Logger


class Agent:
    """Call `start`, then `serve`, then `stop`, whatever became of the others."""

    def __init__(self, parts: Parts, drain_seconds: float) -> None:
        self._parts = parts
        self._drain_seconds = drain_seconds
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open for business: from here on sidecars are answered."""
        await self._parts.backend.start()
        for name, loop in self._parts.loops:
            self._tasks.append(asyncio.create_task(loop, name=name))
        for http in self._parts.http:
            await http.start()
        if self._parts.api is not None:
            await self._parts.api.start()
        self._parts.relay.start()

    async def serve(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises BackgroundTaskEnded."""
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({stopping, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for task in done - {stopping}:
            raise BackgroundTaskEnded(f"{task.get_name()} has ended") from task.exception()

    async def stop(self) -> None:
        """Take nobody new in, let what is on its way arrive, then end. Bounded."""
        parts = self._parts
        parts.listener.unlink()
        parts.relay.stop_accepting()
        if parts.api is not None:
            parts.api.stop_accepting()
        await self._drain()
        parts.workload_api.close()
        await parts.backend.stop(0.2)
        parts.relay.close()
        if parts.api is not None:
            await parts.api.stop(1.0)
        await asyncio.gather(*(http.stop(1.0) for http in parts.http))
        for _, loop in parts.loops[len(self._tasks) :]:
            loop.close()  # never started
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await parts.backlog.close()
        await parts.subscriptions.save()
        for executor in parts.executors:
            executor.shutdown(wait=False, cancel_futures=True)
        shutil.rmtree(parts.private_folder, ignore_errors=True)
        parts.folder.close()

    async def _drain(self) -> None:
        """Until every push has its answer."""
        try:
            async with asyncio.timeout(self._drain_seconds):
                # A look now and then costs the streams nothing, unlike an event at every ACK.
                while any(_unanswered(state) for state in self._parts.streams.snapshot()):  # noqa: ASYNC110  # see above
                    await asyncio.sleep(_DRAIN_POLL)
        except TimeoutError:
            self._parts.log.info("streams are cut with pushes unanswered")


def _unanswered(state: StreamState) -> bool:
    """Workload API streams have no answers to wait for."""
    return state.protocol != PROTOCOL and any(
        resource.sent_version and resource.sent_version not in {resource.acked_version, resource.nacked_version}
        for resource in state.resources
    )

"""The server's process: its manners towards the host, its signals, and what its exit code says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import uvloop

from attestation.errors import AttestationError
from ca.errors import CaError
from sds import __version__
from sds.clock import Clock, SystemClock
from sds.config import ConfigError, ServerConfig, fingerprint
from sds.http.tls import TlsUnusable
from sds.lifecycle import (
    HardeningFailed,
    Systemd,
    collect_garbage_seldom,
    disable_core_dumps,
    private_umask,
    raise_nofile,
    signals,
)
from sds.logs import configure_logging, get_logger
from sds.net.errors import NetError
from sds.reload import Reload as Reloaded
from sds.reload import Reloader, feed_watchdog
from sds.server.datadir import DataDir, DataDirUnusable
from sds.server.server import BackgroundTaskEnded, Server
from sds.server.wiring.build import build
from sds.store.errors import StoreError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 6

Reload = Callable[[], ServerConfig]
"""Reads the configuration again, from the same places. Raises an error that may have `problems`."""

_EXPECTED = (CaError, StoreError, NetError, AttestationError, DataDirUnusable, HardeningFailed, TlsUnusable)
"""What can keep a server from starting through no fault of this program; each message says what to do."""


def run(config: ServerConfig, reload: Reload | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    configure_logging(level=config.log.level, style=config.log.format)
    log = get_logger(__name__)
    try:
        uvloop.run(_Process(config, reload, SystemClock()).run())
    except ConfigError as error:
        log.critical("the server cannot start", problems=[str(problem) for problem in error.problems])
        return EXIT_CONFIG
    except _EXPECTED as error:
        log.critical("the server cannot start", reason=str(error))
        return EXIT_FAILED
    except BackgroundTaskEnded as error:
        log.critical("the server has ended itself, to be started again", exc_info=error)
        return EXIT_FAILED
    return EXIT_OK


class _Process:
    def __init__(self, config: ServerConfig, reload: Reload | None, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._systemd = Systemd(os.environ, os.getpid())
        self._log = get_logger(__name__)
        self._server: Server | None = None
        self._reloader = Reloader(config, reload, self._systemd, clock, self._reconfigure, self._note)

    async def run(self) -> None:
        config = self._config
        disable_core_dumps()
        private_umask()
        descriptors = raise_nofile(config.nofile)
        if not descriptors.enough:
            self._log.warning("few open files are allowed", reason=descriptors.advice)
        stop = asyncio.Event()
        with signals(stop, self._reloader.hang_up):
            data_dir = DataDir(config.data_dir)
            try:
                server = await self._build(data_dir, stop)
            except BaseException:
                data_dir.close()
                raise
            if server is None:
                data_dir.close()
                return
            await self._serve(server, stop)

    async def _build(self, data_dir: DataDir, stop: asyncio.Event) -> Server | None:
        """None when told to stop meanwhile: a first start may wait long for the upstream to certify its authority."""
        building = asyncio.create_task(build(self._config, self._clock, data_dir))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({building, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if stop.is_set():
            building.cancel()
        try:
            return await building
        except asyncio.CancelledError:
            if building.cancelled() and stop.is_set():
                return None
            raise

    async def _serve(self, server: Server, stop: asyncio.Event) -> None:
        watchdog = asyncio.create_task(feed_watchdog(self._systemd))
        serving = False
        try:
            await server.start()
            serving = True
            self._server = server
            collect_garbage_seldom()
            self._log.info(
                "serving",
                version=__version__,
                trust_domain=str(self._config.trust_domain),
                config=fingerprint(self._config),
                admin_socket=str(self._config.admin_socket),
                pid=os.getpid(),
                **{name: str(address) for name, address in server.addresses.items()},
            )
            self._systemd.ready(f"serving {self._config.trust_domain}")
            await server.serve(stop)
        finally:
            self._systemd.stopping()
            if serving:  # a start that failed is told of by its reason alone
                self._log.info("draining", seconds=self._config.grpc.drain_timeout.total_seconds())
            await server.stop()
            watchdog.cancel()
            if serving:
                self._log.info("stopped")

    async def _note(self, done: Reloaded[ServerConfig]) -> None:
        if self._server is not None:
            await self._server.note_reload(done)

    def _reconfigure(self, config: ServerConfig) -> None:
        if self._server is not None:
            self._server.reconfigure(config)

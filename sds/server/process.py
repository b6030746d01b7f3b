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
from sds.config import ConfigError, ServerConfig, changed_keys, fingerprint
from sds.lifecycle import (
    HardeningFailed,
    Systemd,
    collect_garbage_seldom,
    disable_core_dumps,
    private_umask,
    raise_nofile,
    signals,
)
from sds.logs import configure_logging, get_logger, set_level
from sds.net.errors import NetError
from sds.server.datadir import DataDir, DataDirUnusable
from sds.server.server import BackgroundTaskEnded, Server
from sds.server.wiring import build
from sds.store.errors import StoreError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 6

Reload = Callable[[], ServerConfig]
"""Reads the configuration again, from the same places. Raises an error that may have `problems`."""

_EXPECTED = (CaError, StoreError, NetError, AttestationError, DataDirUnusable, HardeningFailed)
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
        self._reload = reload
        self._clock = clock
        self._systemd = Systemd(os.environ, os.getpid())
        self._log = get_logger(__name__)
        self._reloading: asyncio.Task[None] | None = None
        self._server: Server | None = None

    async def run(self) -> None:
        config = self._config
        disable_core_dumps()
        private_umask()
        descriptors = raise_nofile(config.nofile)
        if not descriptors.enough:
            self._log.warning("few open files are allowed", reason=descriptors.advice)
        stop = asyncio.Event()
        with signals(stop, self._hang_up):
            data_dir = DataDir(config.data_dir)
            try:
                server = await build(config, self._clock, data_dir)
            except BaseException:
                data_dir.close()
                raise
            await self._serve(server, stop)

    async def _serve(self, server: Server, stop: asyncio.Event) -> None:
        watchdog = asyncio.create_task(self._watchdog())
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

    def _hang_up(self) -> None:
        """SIGHUP. A second one while the first is worked on changes nothing."""
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._read_again(), name="reload")

    async def _read_again(self) -> None:
        if self._reload is None:
            self._log.warning("SIGHUP: there is no configuration that could be read again")
            return
        self._systemd.reloading(int(self._clock.monotonic() * 1_000_000))
        try:
            new = await asyncio.to_thread(self._reload)
        except Exception as error:  # noqa: BLE001 - whoever reads it says in his own way what is wrong
            problems = [str(problem) for problem in getattr(error, "problems", ())]
            self._log.error("the configuration stays as it was", reason=str(error), problems=problems)
        else:
            taken, left = changed_keys(self._config, new)
            self._config = _with(self._config, new, taken)
            set_level(self._config.log.level)
            if self._server is not None:
                self._server.reconfigure(self._config)
            self._log.info("reloaded the configuration", changed=taken)
            if left:
                self._log.warning("these keys have changed but need a restart", keys=left)
        self._systemd.ready()

    async def _watchdog(self) -> None:
        """Tells systemd that the event loop still turns."""
        interval = self._systemd.watchdog_interval
        while interval:
            self._systemd.watchdog()
            await asyncio.sleep(interval)


def _with(config: ServerConfig, new: ServerConfig, keys: list[str]) -> ServerConfig:
    """`config` with these keys of `new`; the others stay, so that they are named again until the restart."""
    for dotted in keys:
        section, _, name = dotted.partition(".")
        table = getattr(config, section).model_copy(update={name: getattr(getattr(new, section), name)})
        config = config.model_copy(update={section: table})
    return config

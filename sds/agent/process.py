"""The agent's process: its manners towards the host, its signals, and what its exit code says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import uvloop

from attestation.errors import AttestationError
from ca.errors import CaError
from sds import __version__
from sds.agent.agent import Agent, BackgroundTaskEnded
from sds.agent.datadir import DataFolder
from sds.agent.errors import AgentError
from sds.agent.wiring import build
from sds.clock import Clock, SystemClock
from sds.config import AgentConfig, ConfigError, changed_keys, fingerprint
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

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 6

Reload = Callable[[], AgentConfig]
"""Reads the configuration again, from the same places. Raises an error that may have `problems`."""

_EXPECTED = (AgentError, CaError, NetError, AttestationError, HardeningFailed, OSError)
"""What can keep an agent from starting through no fault of this program; each message says what to do."""


def run(config: AgentConfig, reload: Reload | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    # C-core writes a line of its own kind to standard error for every failed handshake; we say why ours did.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    configure_logging(level=config.log.level, style=config.log.format)
    log = get_logger(__name__)
    collect_garbage_seldom()
    try:
        uvloop.run(_Process(config, reload, SystemClock()).run())
    except ConfigError as error:
        log.critical("the agent cannot start", problems=[str(problem) for problem in error.problems])
        return EXIT_CONFIG
    except _EXPECTED as error:
        log.critical("the agent cannot start", reason=str(error))
        return EXIT_FAILED
    except BackgroundTaskEnded as error:
        log.critical("the agent has ended itself, to be started again", exc_info=error)
        return EXIT_FAILED
    return EXIT_OK


class _Process:
    def __init__(self, config: AgentConfig, reload: Reload | None, clock: Clock) -> None:
        self._config = config
        self._reload = reload
        self._clock = clock
        self._systemd = Systemd(os.environ, os.getpid())
        self._log = get_logger(__name__)
        self._reloading: asyncio.Task[None] | None = None

    async def run(self) -> None:
        disable_core_dumps()
        private_umask()
        descriptors = raise_nofile(self._config.nofile)
        if not descriptors.enough:
            self._log.warning("few open files are allowed", reason=descriptors.advice)
        stop = asyncio.Event()
        with signals(stop, self._hang_up):
            folder = DataFolder(self._config.data_dir)
            building = asyncio.create_task(build(self._config, self._clock, folder, descriptors.achieved))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({building, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not building.done():  # told to stop while it waits for the server to attest it
                building.cancel()
                folder.close()
                return
            await self._serve(building.result(), stop)

    async def _serve(self, agent: Agent, stop: asyncio.Event) -> None:
        watchdog = asyncio.create_task(self._watchdog())
        serving = False
        try:
            await agent.start()
            serving = True
            self._log.info(
                "serving",
                version=__version__,
                config=fingerprint(self._config),
                socket=str(self._config.socket),
                admin_socket=str(self._config.admin_socket),
                server=str(self._config.server),
                pid=os.getpid(),
            )
            self._systemd.ready("serving")
            await agent.serve(stop)
        finally:
            self._systemd.stopping()
            if serving:  # a start that failed is told of by its reason alone
                self._log.info("draining", seconds=self._config.drain_timeout.total_seconds())
            await agent.stop()
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
        except Exception as error:  # noqa: BLE001  # whoever reads it says in his own way what is wrong
            problems = [str(problem) for problem in getattr(error, "problems", ())]
            self._log.error("the configuration stays as it was", reason=str(error), problems=problems)
        else:
            taken, left = changed_keys(self._config, new)
            set_level(new.log.level)
            self._log.info("reloaded the configuration", changed=taken)
            if left:
                self._log.warning("these keys have changed but need a restart", keys=left)
            self._config = self._config.model_copy(update={"log": new.log})
        self._systemd.ready()

    async def _watchdog(self) -> None:
        """Tells systemd that the event loop still turns."""
        interval = self._systemd.watchdog_interval
        while interval:
            self._systemd.watchdog()
            await asyncio.sleep(interval)

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
from sds.agent.wiring.build import build
from sds.clock import Clock, SystemClock
from sds.config import AgentConfig, ConfigError, fingerprint
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
from sds.reload import Reloader, feed_watchdog

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
        self._clock = clock
        self._systemd = Systemd(os.environ, os.getpid())
        self._log = get_logger(__name__)
        self._reloader = Reloader(config, reload, self._systemd, clock)

    async def run(self) -> None:
        disable_core_dumps()
        private_umask()
        descriptors = raise_nofile(self._config.nofile)
        if not descriptors.enough:
            self._log.warning("few open files are allowed", reason=descriptors.advice)
        stop = asyncio.Event()
        with signals(stop, self._reloader.hang_up):
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
        watchdog = asyncio.create_task(feed_watchdog(self._systemd))
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

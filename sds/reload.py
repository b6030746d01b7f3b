"""SIGHUP and the watchdog, the same for the server's process and for the agent's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from sds.clock import Clock
from sds.config import AgentConfig, ServerConfig, changed_keys
from sds.lifecycle import Systemd
from sds.logs import get_logger, set_level

C = TypeVar("C", bound=ServerConfig | AgentConfig)


class Reloader(Generic[C]):
    """Reads the configuration again and takes from it what needs no restart.

    `read` reads it from the same places as before and raises an error that may have `problems`; None: there is nothing
    to read. `applied` is handed each new configuration.
    """

    def __init__(
        self,
        config: C,
        read: Callable[[], C] | None,
        systemd: Systemd,
        clock: Clock,
        applied: Callable[[C], None] = lambda _: None,
    ) -> None:
        self._config: C = config
        self._read = read
        self._systemd = systemd
        self._clock = clock
        self._applied = applied
        self._log = get_logger(__name__)
        self._reloading: asyncio.Task[None] | None = None

    def hang_up(self) -> None:
        """SIGHUP. A second one while the first is worked on changes nothing."""
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._read_again(), name="reload")

    async def _read_again(self) -> None:
        if self._read is None:
            self._log.warning("SIGHUP: there is no configuration that could be read again")
            return
        self._systemd.reloading(int(self._clock.monotonic() * 1_000_000))
        try:
            new = await asyncio.to_thread(self._read)
        except Exception as error:  # noqa: BLE001 - whoever reads it says in his own way what is wrong
            problems = [str(problem) for problem in getattr(error, "problems", ())]
            self._log.error("the configuration stays as it was", reason=str(error), problems=problems)
        else:
            taken, left = changed_keys(self._config, new)
            self._config = _with(self._config, new, taken)
            set_level(self._config.log.level)
            self._applied(self._config)
            self._log.info("reloaded the configuration", changed=taken)
            if left:
                self._log.warning("these keys have changed but need a restart", keys=left)
        self._systemd.ready()


async def feed_watchdog(systemd: Systemd) -> None:
    """Tell systemd that the event loop still turns, as often as it wants to hear it."""
    interval = systemd.watchdog_interval
    while interval:
        systemd.watchdog()
        await asyncio.sleep(interval)


def _with(config: C, new: C, keys: list[str]) -> C:
    """`config` with these keys of `new`; the others stay, so that they are named again until the restart."""
    tables: dict[str, Any] = {}
    for dotted in keys:
        section, _, name = dotted.partition(".")
        table = tables.get(section, getattr(config, section))
        tables[section] = table.model_copy(update={name: getattr(getattr(new, section), name)})
    return cast("C", config.model_copy(update=tables))

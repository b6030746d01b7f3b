"""SIGHUP and the watchdog, the same for the server's process and for the agent's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from sds.clock import Clock
from sds.config import AgentConfig, ConfigError, ServerConfig, changed_keys
from sds.config.types import Section
from sds.lifecycle import Systemd
from sds.logs import get_logger, set_level

C = TypeVar("C", bound=ServerConfig | AgentConfig)


@dataclass(frozen=True, slots=True)
class Reload(Generic[C]):
    """What came of a SIGHUP: `config` is what counts from now on.

    `taken` are the dotted keys that take effect, `left` those that need a restart, `wrong` those for which it stays as
    it was altogether ("" for what has no key).
    """

    config: C
    taken: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


async def _unnoted(_: Reload[C]) -> None:
    """Where nobody keeps a record."""


class Reloader(Generic[C]):
    """Reads the configuration again and takes from it what needs no restart.

    `read` reads it from the same places as before and raises an error that may have `problems`; None: there is nothing
    to read. `noted` is told before anything changes, and keeps it from changing by an error; `applied` is handed each
    new configuration.
    """

    def __init__(
        self,
        config: C,
        read: Callable[[], C] | None,
        systemd: Systemd,
        clock: Clock,
        applied: Callable[[C], None] = lambda _: None,
        noted: Callable[[Reload[C]], Awaitable[None]] = _unnoted,
    ) -> None:
        self._config: C = config
        self._read = read
        self._systemd = systemd
        self._clock = clock
        self._applied = applied
        self._noted = noted
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
            await self._note(Reload(self._config, wrong=_wrong(error)))
        else:
            await self._take(new)
        self._systemd.ready()

    async def _take(self, new: C) -> None:
        taken, left = changed_keys(self._config, new)
        merged = _with(self._config, new, taken)
        if not await self._note(Reload(merged, tuple(taken), tuple(left))):
            return
        self._config = merged
        set_level(merged.log.level)
        self._applied(merged)
        self._log.info("reloaded the configuration", changed=taken)
        if left:
            self._log.warning("these keys have changed but need a restart", keys=left)

    async def _note(self, done: Reload[C]) -> bool:
        try:
            await self._noted(done)
        except Exception as error:  # noqa: BLE001  # whatever keeps the record; what cannot be noted does not happen
            self._log.error("the configuration stays as it was: it could not be audited", reason=str(error))
            return False
        return True


async def feed_watchdog(systemd: Systemd) -> None:
    """Tell systemd that the event loop still turns, as often as it wants to hear it."""
    interval = systemd.watchdog_interval
    while interval:
        systemd.watchdog()
        await asyncio.sleep(interval)


def _wrong(error: Exception) -> tuple[str, ...]:
    """The keys that are wrong; who reads it may have put the error into words of his own."""
    named = error if isinstance(error, ConfigError) else error.__context__
    return tuple(each.key for each in named.problems) if isinstance(named, ConfigError) else ("",)


def _with(config: C, new: C, keys: Sequence[str]) -> C:
    """`config` with these keys of `new`; the others stay, so that they are named again until the restart."""
    return cast("C", _merged(config, new, keys))


def _merged(config: Section, new: Section, keys: Sequence[str]) -> Section:
    tables: dict[str, list[str]] = {}
    update: dict[str, object] = {}
    for dotted in keys:
        name, dot, rest = dotted.partition(".")
        if dot:
            tables.setdefault(name, []).append(rest)
        else:
            update[name] = getattr(new, name)
    for name, inner in tables.items():
        update[name] = _merged(getattr(config, name), getattr(new, name), inner)
    return config.model_copy(update=update)

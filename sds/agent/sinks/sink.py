"""One sink: it acts for the workloads with its selectors, and keeps one file equal to their secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from attestation.selector import Selectors
from sds.agent.secrets.desk import LocalSecrets
from sds.agent.sinks import command
from sds.agent.sinks.command import CommandFailed
from sds.agent.sinks.file import FilePlace, SinkUnusable
from sds.agent.sinks.template import Content, RenderFailed
from sds.backoff import Backoff
from sds.delivery.messages import NO_IDENTITY, NOT_GRANTED
from sds.delivery.view import Absence
from sds.logs import Logger
from sds.secrets.secret import SecretValue

_REFUSALS = frozenset({NO_IDENTITY, NOT_GRANTED})


@dataclass(frozen=True, slots=True)
class SinkPlan:
    """What a sink is to do. `remove`: whether the file goes when a secret is not granted any more."""

    name: str
    secrets: tuple[str, ...]
    selectors: Selectors
    content: Content
    place: FilePlace
    remove: bool = True
    command: Sequence[str] = ()
    command_seconds: float = 30.0


class SinkObserver(Protocol):
    """Is told, on the loop, what becomes of a sink. Must neither block nor raise."""

    def wrote(self, sink: str, outcome: str) -> None:
        """`written`, `unchanged`, `removed` or `failed`."""
        ...

    def ready(self, sink: str, ready: bool) -> None:
        """Whether its file is as it should be."""
        ...


class FileSink:
    """Runs until cancelled. The last good file stays whatever fails."""

    def __init__(
        self,
        plan: SinkPlan,
        secrets: LocalSecrets,
        executor: Executor,
        backoff: Backoff,
        jitter: Callable[[], float],
        observer: SinkObserver,
        log: Logger,
    ) -> None:
        """`jitter` gives numbers in [0, 1)."""
        self._plan = plan
        self._secrets = secrets
        self._executor = executor
        self._backoff = backoff
        self._jitter = jitter
        self._observer = observer
        self._log = log.bind(sink=plan.name, path=str(plan.place.path))
        self._news = asyncio.Event()
        self._missing = ""
        self._untold = False  # the file has changed and the command has not been run well since

    async def run(self) -> None:
        acting = self._secrets.stand_in(self._plan.selectors, self._news.set)
        interest = self._secrets.interest(acting, self._plan.secrets, self._news.set)
        failures = 0
        try:
            while True:
                self._news.clear()
                done = await self._once([(name, self._secrets.find(acting, name)) for name in self._plan.secrets])
                failures = 0 if done else failures + 1
                pause = None if done else self._backoff.delay(failures, self._jitter()).total_seconds()
                await self._rest(pause)
        finally:
            interest.close()
            acting.close()

    async def _rest(self, pause: float | None) -> None:
        """Until there is news; after a failure at the latest when it is time to try again."""
        try:
            async with asyncio.timeout(pause):
                await self._news.wait()
        except TimeoutError:
            return

    async def _once(self, found: Sequence[tuple[str, SecretValue | Absence | None]]) -> bool:
        """Bring the file to where the secrets are; False if that failed and is to be tried again."""
        values = {name: value for name, value in found if isinstance(value, SecretValue)}
        if len(values) == len(found):
            return await self._write(values)
        self._observer.ready(self._plan.name, False)
        refused = [name for name, one in found if isinstance(one, Absence) and one.reason in _REFUSALS]
        self._tell_missing([f"{name}: {one.reason}" for name, one in found if isinstance(one, Absence)])
        return await self._remove(refused) if refused and self._plan.remove else True

    async def _write(self, values: dict[str, SecretValue]) -> bool:
        loop = asyncio.get_running_loop()
        try:
            content = await loop.run_in_executor(self._executor, self._plan.content.render, values)
            changed = await loop.run_in_executor(self._executor, self._plan.place.write, content)
        except (RenderFailed, SinkUnusable) as error:
            return self._failed("the file is as it was", error)
        self._missing = ""
        versions = {name: value.version for name, value in values.items()}
        if changed:
            self._log.info("wrote a file of secrets", versions=versions)
        self._observer.wrote(self._plan.name, "written" if changed else "unchanged")
        self._untold = (self._untold or changed) and bool(self._plan.command)
        if self._untold:
            try:
                await command.run(self._plan.command, self._plan.command_seconds)
            except CommandFailed as error:
                return self._failed("the file is new, but its reader was not told", error)
            self._untold = False
        self._observer.ready(self._plan.name, True)
        return True

    async def _remove(self, refused: Sequence[str]) -> bool:
        loop = asyncio.get_running_loop()
        try:
            removed = await loop.run_in_executor(self._executor, self._plan.place.remove)
        except SinkUnusable as error:
            return self._failed("it should be gone", error)
        if removed:
            self._log.warning("removed a file of secrets that are not granted any more", names=list(refused))
            self._observer.wrote(self._plan.name, "removed")
        return True

    def _failed(self, what: str, error: Exception) -> bool:
        self._log.error("a file of secrets is not as it should be", what=what, problem=str(error))
        self._observer.wrote(self._plan.name, "failed")
        self._observer.ready(self._plan.name, False)
        return False

    def _tell_missing(self, missing: Sequence[str]) -> None:
        """Once until it is something else."""
        text = "; ".join(missing)
        if text and text != self._missing:
            self._log.warning("a file of secrets waits: there is nothing to write", missing=text)
        self._missing = text

"""`sds demo`: start the scene, send traffic, show what happens, say whether it held."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from sds.clock import Clock, SystemClock
from sds.demo.changing import Changing, told
from sds.demo.errors import DemoError
from sds.demo.observe import Observer
from sds.demo.report import Report
from sds.demo.scene import BACK, FRONT, Scene, scene
from sds.demo.traffic import Tally, Traffic
from sds.demo.vault import FIELD, MOUNT, PATH
from sds.demo.view import Frame, render, summary, whats_next

_LOOK_EVERY = 0.25  # seconds
_STALLED_AFTER = 5  # lifetimes without a rotation
EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`rotations` None: until Ctrl-C."""

    rotations: int | None = None
    as_json: bool = False
    lifetime: timedelta = timedelta(seconds=10)
    vault: bool = False


def main(options: DemoOptions) -> int:
    """Run the demo; the exit status: 0 if every request was answered and no Envoy restarted, else 1."""
    try:
        return asyncio.run(_Demo(options, SystemClock()).run())
    except (KeyboardInterrupt, asyncio.CancelledError):  # before there was anything to judge
        return EXIT_INTERRUPTED


@dataclass(slots=True)
class _Demo:
    options: DemoOptions
    clock: Clock
    tally: Tally = field(default_factory=Tally)
    refused: bool = False
    changing: Changing | None = None
    out: Console = field(init=False)

    def __post_init__(self) -> None:
        # With --json standard output carries the one object and nothing else.
        self.out = Console(stderr=self.options.as_json, highlight=False)

    async def run(self) -> int:
        _cancel_on_sigterm()
        began = self.clock.monotonic()
        try:
            async with AsyncExitStack() as cleanup:
                with self._starting():
                    playing = scene(self.options.lifetime, self._say, with_vault=self.options.vault)
                    stage = await cleanup.enter_async_context(playing)
                if stage.vault:
                    self.changing = Changing(stage.vault, self.options.lifetime, self.clock)
                observer = Observer(stage, self.tally)
                self.refused = await stage.refused()
                if self.refused:
                    self._say(f"refused: {FRONT} asks for {stage.stack.id(BACK)} too and gets nothing")
                began = self.clock.monotonic()
                return await self._play(stage, observer, began)
        except (DemoError, OSError) as problem:
            self.out.print(f"[bold red]sds demo:[/] {escape(str(problem))}", markup=True, soft_wrap=True)
            return EXIT_FAILED

    def _starting(self) -> AbstractContextManager[object]:
        return self.out.status("starting") if self.out.is_terminal else nullcontext()

    def _say(self, step: str) -> None:
        self.out.print(f"[green]✓[/] {step}", markup=True, soft_wrap=True)

    async def _play(self, stage: Scene, observer: Observer, began: float) -> int:
        """Send traffic and watch until the goal is reached, a process ends, or Ctrl-C; then judge."""
        problem = ""
        try:
            async with self._traffic(stage.url):
                await self._watch(stage, observer, began)
            self.refused = self.refused and await stage.refused()
        except DemoError as error:
            problem = str(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()  # Ctrl-C ends the watching, not the report and the cleaning up
        report = self._report(observer)
        if problem:
            self.out.print(problem, style="bold red", soft_wrap=True)
        if not self.refused:
            self.out.print(f"{FRONT} was given the identity of {BACK}", style="bold red")
        for failure in self.tally.failures:
            self.out.print(f"failed request: {failure}", style="red", soft_wrap=True)
        self.out.print(summary(report, timedelta(seconds=self.clock.monotonic() - began)), soft_wrap=True)
        if self.options.as_json:
            sys.stdout.write(json.dumps(report.to_json()) + "\n")
        return EXIT_OK if report.passed and self.refused and not problem else EXIT_FAILED

    @asynccontextmanager
    async def _traffic(self, url: str) -> AsyncIterator[None]:
        check = self.changing.check if self.changing else None
        task = asyncio.create_task(Traffic(url, self.tally, check=check).run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _watch(self, stage: Scene, observer: Observer, began: float) -> None:
        """Look and show until the goal is reached; raises DemoError if nothing rotates any more."""
        show = self.out.is_terminal and not self.options.as_json
        if not show and not self.options.as_json:
            self.out.print(whats_next(str(stage.stack.sds_socket), _hints(stage)), soft_wrap=True)
        rotated, at = 0, began
        with Live(console=self.out, auto_refresh=False) if show else nullcontext() as live:
            while not self._reached(self._report(observer)):
                await observer.look()
                if self.changing:
                    await self.changing.step()
                now = self.clock.monotonic()
                if live is not None:
                    live.update(render(self._frame(stage, observer, now - began)), refresh=True)
                if observer.report().rotations > rotated:
                    rotated, at = observer.report().rotations, now
                    if live is None:
                        self._say(f"rotation {rotated}: {self.tally.requests} requests, {self.tally.failed} failed")
                elif now - at > _STALLED_AFTER * self.options.lifetime.total_seconds():
                    raise DemoError(f"Nothing rotated for {now - at:.0f} s. The logs are in {stage.folder}")
                if not show:
                    self._tell()
                await asyncio.sleep(_LOOK_EVERY)
        if not show:
            self._tell()  # the last ones, too

    def _tell(self) -> None:
        """Say which changes of the secret have arrived, where no picture shows them."""
        for change in self.changing.news() if self.changing else ():
            self._say(f"{told(change)}; {self.tally.requests} requests, {self.tally.failed} failed")

    def _report(self, observer: Observer) -> Report:
        report = observer.report()
        return replace(report, secret=self.changing.report()) if self.changing else report

    def _reached(self, report: Report) -> bool:
        """Whether there were as many rotations as were asked for, and as many changes of the secret."""
        goal = self.options.rotations
        return goal is not None and report.rotations >= goal and (not report.secret or report.secret.changes >= goal)

    def _frame(self, stage: Scene, observer: Observer, elapsed: float) -> Frame:
        return Frame(
            now=self.clock.now(),
            elapsed=timedelta(seconds=elapsed),
            lifetime=self.options.lifetime,
            sidecars=observer.sidecars,
            report=self._report(observer),
            failures=tuple(self.tally.failures),
            refusal=f"{FRONT} asks for {stage.stack.id(BACK)} too and gets nothing",
            refused=self.refused,
            goal=self.options.rotations,
            socket=str(stage.stack.sds_socket),
            hints=_hints(stage),
            secret=self.changing.view() if self.changing else None,
        )


def _hints(stage: Scene) -> list[tuple[str, str]]:
    """Commands to type in another terminal, and what for; few enough for a terminal of 24 lines."""
    sds, envoy = _command("sds"), stage.front
    server = (f"export SDS_ADMIN_SOCKET={stage.stack.admin_socket}", "")
    streams = (f"{sds} agent streams", "who holds what")
    request = (f"curl -i {stage.url}", "a request of your own")
    if stage.vault:
        bao = _command("bao") if shutil.which(_command("bao")) else str(stage.vault.binary)
        return [
            server,
            streams,
            (f"export BAO_ADDR={stage.vault.url}", ""),
            (f"export BAO_TOKEN=$(cat {stage.vault.token_file})", ""),
            (f"{bao} kv put -mount={MOUNT} {PATH} {FIELD}=mine", "a value of your own"),
            request,
        ]
    return [
        server,
        (f"export SDS_AGENT_ADMIN_SOCKET={stage.stack.agent_admin_socket}", ""),
        streams,
        (f"{sds} agent explain --pid {envoy.child.pid}", "why it gets what it gets"),
        (f"{sds} audit tail", "what was decided"),
        request,
        (f"curl --unix-socket {envoy.admin.socket} http://envoy/certs", ""),
    ]


def _command(name: str) -> str:
    """How a program of this installation is called: by its name where that is on PATH, else by its file."""
    if shutil.which(name):
        return name
    script = Path(sys.executable).with_name(name)
    with suppress(ValueError):
        return str(script.relative_to(Path.cwd()))
    return str(script)


def _cancel_on_sigterm() -> None:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)

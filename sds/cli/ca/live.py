"""A rotation on a terminal: the steps, a bar of who has the bundle, and who has not, drawn in place."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from sds.cli.ca import words
from sds.cli.ca.events import Event, Stopped, Waiting
from sds.cli.ca.progress import sentence, tell_stop
from sds.cli.text import clean
from sds.clock import SystemClock

_BAR = 40


class Display:
    """What has happened stays above as lines; what is waited for is drawn below them, again and again."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False)
        self._live: Live | None = None
        self._last: Event | None = None

    def tell(self, event: Event) -> None:
        if isinstance(event, Waiting):
            self._wait(event)
            return
        self.pause()
        if isinstance(event, Stopped):
            tell_stop(event)
        elif event != self._last:
            self._console.print(Text(clean(sentence(event))))
        self._last = event

    def pause(self) -> None:
        """Take down what is drawn."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _wait(self, event: Waiting) -> None:
        if self._live is None:
            self._live = Live(console=self._console, transient=True, refresh_per_second=4)
            self._live.start()
        self._live.update(picture(event))


def picture(event: Waiting) -> RenderableType:
    """The gate now."""
    now, gate = SystemClock().now(), event.gate
    head = Table.grid(padding=(0, 1))
    waited = f"{int(event.seconds) // 60}:{int(event.seconds) % 60:02d}"
    head.add_row(
        Spinner("dots"), ProgressBar(total=max(gate.total, 1), completed=gate.acked, width=_BAR), Text(waited, "dim")
    )
    lines = [Text(clean(words.progress(gate, now)))]
    lines += [Text(clean(f"  {line}"), "yellow") for line in words.stragglers(gate, now)]
    return Group(head, *lines, Text("Ctrl-C leaves it as it is; run it again to go on.", "dim"))

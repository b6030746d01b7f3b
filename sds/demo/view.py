"""What the demo shows: a live table for people at a terminal. Pure: state in, renderables out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sds.demo.observe import SidecarView
from sds.demo.report import Report, percentile

_BAR = 10  # cells
_OK, _BAD, _DIM = "green", "bold red", "dim"


@dataclass(frozen=True, slots=True)
class Frame:
    """All that one picture shows."""

    now: datetime
    elapsed: timedelta
    lifetime: timedelta
    sidecars: Sequence[SidecarView]
    report: Report
    failures: Sequence[str]
    refusal: str
    refused: bool
    goal: int | None
    hints: Sequence[tuple[str, str]]


def render(frame: Frame) -> RenderableType:
    """The whole picture."""
    parts: list[RenderableType] = [_title(frame), _sidecars(frame), _traffic(frame), _refusal(frame)]
    parts += [Text(f"  ✗ {failure}", style=_BAD) for failure in list(frame.failures)[-3:]]
    parts += [Text(), _hints(frame.hints)]
    return Group(*parts)


def _title(frame: Frame) -> Text:
    title = Text.assemble((" sds demo ", "bold reverse"), "  real Envoys, short-lived certificates, no restarts  ")
    title.append(f"{int(frame.elapsed.total_seconds()) // 60:02}:{int(frame.elapsed.total_seconds()) % 60:02}", _DIM)
    if frame.goal is not None:
        title.append(f"   rotation {min(frame.report.rotations, frame.goal)} of {frame.goal}", style="bold")
    return title


def _sidecars(frame: Frame) -> Table:
    table = Table(box=box.ROUNDED, border_style=_DIM, header_style="bold", pad_edge=True)
    table.add_column("Sidecar")
    table.add_column("SPIFFE ID", overflow="fold")
    table.add_column("Serial", no_wrap=True)
    table.add_column("Expires in", no_wrap=True)
    table.add_column("Rotations", justify="right")
    table.add_column("ACKs", justify="right")
    for sidecar in frame.sidecars:
        table.add_row(
            Text.assemble((sidecar.name, "bold"), (f"\npid {sidecar.pid}", _DIM)),
            sidecar.spiffe_id,
            _serial(sidecar),
            _expiry(sidecar.not_after, frame.now, frame.lifetime),
            str(sidecar.rotations),
            str(sidecar.acks),
        )
    return table


def _serial(sidecar: SidecarView) -> Text:
    """The serial that Envoy holds, and whether its TLS peer has seen it yet."""
    if sidecar.serial in sidecar.serials:
        return Text.assemble((sidecar.serial[:12], "cyan"), "…", ("\nseen by the peer", _DIM))
    return Text.assemble((sidecar.serial[:12], "cyan"), "…", ("\nwaits for a handshake", "yellow"))


def _expiry(not_after: datetime | None, now: datetime, lifetime: timedelta) -> Text:
    if not_after is None:
        return Text("-")
    left = max((not_after - now).total_seconds(), 0.0)
    filled = min(round(_BAR * left / lifetime.total_seconds()), _BAR)
    style = _OK if filled > _BAR * 0.3 else "yellow"
    return Text.assemble(("━" * filled, style), ("━" * (_BAR - filled), "grey30"), f" {left:4.1f} s")


def _traffic(frame: Frame) -> Table:
    report = frame.report
    rate = report.requests / max(frame.elapsed.total_seconds(), 0.1)
    grid = Table.grid(padding=(0, 3))
    grid.add_row(
        Text.assemble((f" {report.requests:,}", "bold"), f" requests ({rate:.0f}/s)"),
        Text.assemble((f"{report.failed:,}", _BAD if report.failed else f"bold {_OK}"), " failed"),
        Text.assemble((f"{report.handshakes:,}", "bold"), " mTLS handshakes"),
        Text.assemble((f"{report.envoy_restarts}", _BAD if report.envoy_restarts else f"bold {_OK}"), " restarts"),
    )
    grid.add_row(
        Text.assemble((f" {report.distinct_serials}", "bold"), " certificates seen in use"),
        Text(""),
        Text.assemble("push to ACK ", (_milliseconds(report.push_to_ack_ms), "bold")),
        Text(""),
    )
    return grid


def _milliseconds(values: Sequence[float]) -> str:
    p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
    return "-" if p50 is None or p99 is None else f"{p50:.1f} ms, p99 {p99:.1f} ms"


def _refusal(frame: Frame) -> Text:
    if frame.refused:
        return Text.assemble((" ✓ refused: ", _OK), frame.refusal)
    return Text.assemble((" ✗ NOT refused: ", _BAD), frame.refusal)


def _hints(hints: Sequence[tuple[str, str]]) -> Group:
    """What to type next; each command on a line of its own, so that it can be copied whole."""
    lines = [Text.assemble((f" {what}\n", _DIM), f"   {command}", overflow="fold") for what, command in hints]
    return Group(*lines)


def summary(report: Report, elapsed: timedelta) -> Text:
    """One paragraph once it is over."""
    verdict = ("passed", f"bold {_OK}") if report.passed else ("FAILED", _BAD)
    return Text.assemble(
        verdict,
        f": {report.rotations} rotations of each sidecar in {elapsed.total_seconds():.0f} s, ",
        f"{report.requests:,} requests, {report.failed} failed, {report.handshakes:,} handshakes, ",
        f"{report.distinct_serials} certificates used, {report.envoy_restarts} restarts, ",
        f"push to ACK {_milliseconds(report.push_to_ack_ms)}",
    )

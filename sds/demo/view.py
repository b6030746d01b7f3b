"""What the demo shows: a live table for people at a terminal. Pure: state in, renderables out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sds.demo.changes import SecretView
from sds.demo.observe import SidecarView
from sds.demo.report import Report, SecretReport, percentile

_BAR = 8  # cells
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
    socket: str
    hints: Sequence[tuple[str, str]]
    secret: SecretView | None = None


def render(frame: Frame) -> RenderableType:
    """The whole picture."""
    parts: list[RenderableType] = [
        _title(frame),
        Text(),
        Padding(_sidecars(frame), (0, 0, 0, 1)),
        Text(),
        *([_secret(frame.secret, [s.name for s in frame.sidecars])] if frame.secret else []),
        _traffic(frame),
        _refusal(frame),
    ]
    parts += [Text(f"  ✗ {failure}", style=_BAD) for failure in list(frame.failures)[-3:]]
    parts += [Text(), whats_next(frame.socket, frame.hints)]
    return Group(*parts)


def _title(frame: Frame) -> Text:
    title = Text.assemble((" sds demo ", "bold reverse"), "  certificates rotate, nothing restarts  ")
    title.append(f"{int(frame.elapsed.total_seconds()) // 60:02}:{int(frame.elapsed.total_seconds()) % 60:02}", _DIM)
    if frame.goal is not None:
        title.append(f"  rotation {min(frame.report.rotations, frame.goal)} of {frame.goal}", style="bold")
    return title


def _sidecars(frame: Frame) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, collapse_padding=True, header_style=f"bold {_DIM}")
    table.add_column("Sidecar", overflow="fold", min_width=29)
    table.add_column("Serial", no_wrap=True)
    table.add_column("Expires", no_wrap=True)
    for heading in ("Rotated", "ACKs", "Requests", "Failed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for sidecar in frame.sidecars:
        table.add_row(
            Text.assemble((sidecar.name, "bold"), (f"  pid {sidecar.pid}\n", _DIM), sidecar.spiffe_id),
            _serial(sidecar),
            _expiry(sidecar.not_after, frame.now, frame.lifetime),
            str(sidecar.rotations),
            str(sidecar.acks),
            f"{sidecar.requests:,}",
            Text(f"{frame.report.failed:,}", style=_BAD if frame.report.failed else _OK),
        )
    return table


def _serial(sidecar: SidecarView) -> Text:
    """The serial that Envoy holds, and whether its TLS peer has been shown it yet."""
    in_use = sidecar.serial in sidecar.serials
    return Text.assemble((sidecar.serial[:8], "cyan"), "…\n", ("in use", _DIM) if in_use else ("new", "yellow"))


def _expiry(not_after: datetime | None, now: datetime, lifetime: timedelta) -> Text:
    if not_after is None:
        return Text("-")
    left = max((not_after - now).total_seconds(), 0.0)
    filled = min(round(_BAR * left / lifetime.total_seconds()), _BAR)
    style = _OK if filled > _BAR * 0.3 else "yellow"
    return Text.assemble(f"{left:6.1f} s\n", ("━" * filled, style), ("━" * (_BAR - filled), "grey30"))


def _secret(secret: SecretView, sidecars: Sequence[str]) -> Text:
    """What is in Vault, and for each sidecar what it uses and how long after the change it did."""
    last = secret.last
    lines = Text.assemble(
        (" Vault ", "bold"),
        (f" {secret.place}  ", _DIM),
        *_figure(f"{secret.done}", "change" if secret.done == 1 else "changes"),
    )
    if last is not None:
        lines.append(f" newest: {last.value}", "cyan")
    for name in sidecars:
        value = secret.in_use.get(name, "-")
        after = last.used.get(name) if last is not None and last.value == value else None
        lines.append(f"\n   {name:<10} uses ").append(value, "cyan")
        if after is not None:
            lines.append(f"  {after:.2f} s after its change in Vault", _DIM)
        elif last is not None and name not in last.used:
            lines.append(f"  {last.value} is on its way", "yellow")
    return lines


def _traffic(frame: Frame) -> Text:
    report = frame.report
    rate = report.requests / max(frame.elapsed.total_seconds(), 0.1)
    return Text.assemble(
        *_figure(f"{report.requests:,}", f"requests, {rate:.0f}/s"),
        *_figure(f"{report.failed:,}", "failed", _BAD if report.failed else f"bold {_OK}"),
        *_figure(f"{report.handshakes:,}", "mTLS handshakes"),
        *_figure(f"{report.envoy_restarts}", "restarts", _BAD if report.envoy_restarts else f"bold {_OK}"),
        "\n",
        *_figure(f"{report.distinct_serials}", "certificates used"),
        *_figure(_milliseconds(report.push_to_ack_ms), "from push to ACK"),
    )


def _figure(value: str, what: str, style: str = "bold") -> tuple[str | tuple[str, str], ...]:
    return " ", (value, style), f" {what}  "


def _milliseconds(values: Sequence[float]) -> str:
    p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
    return "-" if p50 is None or p99 is None else f"{p50:.1f} ms (p99 {p99:.1f})"


def _refusal(frame: Frame) -> Text:
    if frame.refused:
        return Text.assemble((" ✓ refused  ", _OK), frame.refusal)
    return Text.assemble((" ✗ NOT refused  ", _BAD), frame.refusal)


def whats_next(socket: str, hints: Sequence[tuple[str, str]]) -> Group:
    """Where sidecars connect, and what to type; each command on a line of its own, so that it can be copied whole."""
    lines = [Text.assemble((" Sidecars connect at ", _DIM), socket), Text(" In another terminal:", style=_DIM)]
    for command, what_for in hints:
        line = Text(f"   {command}")
        lines.append(line.append(f"  # {what_for}", style=_DIM) if what_for else line)
    return Group(*lines, Text(" Ctrl-C ends it and removes all of it.", style=_DIM))


def summary(report: Report, elapsed: timedelta) -> Text:
    """One paragraph once it is over."""
    verdict = ("passed", f"bold {_OK}") if report.passed else ("FAILED", _BAD)
    return Text.assemble(
        verdict,
        f": {report.rotations} rotations of each sidecar in {elapsed.total_seconds():.0f} s, ",
        f"{report.requests:,} requests, {report.failed} failed, {report.handshakes:,} handshakes, ",
        f"{report.distinct_serials} certificates used, {report.envoy_restarts} restarts, ",
        f"{_milliseconds(report.push_to_ack_ms)} from push to ACK",
        _secret_summary(report.secret),
    )


def _secret_summary(secret: SecretReport | None) -> str:
    if secret is None:
        return ""
    used = "".join(
        f", {_milliseconds(values)} until {name} used it" for name, values in secret.change_to_use_ms.items()
    )
    return f"; {secret.changes} changes of the secret in Vault{used}"

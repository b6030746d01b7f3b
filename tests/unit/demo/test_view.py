from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from io import StringIO

import pytest
from rich.console import Console

from sds.demo.changes import Change, SecretView
from sds.demo.observe import SidecarView
from sds.demo.report import Report, SecretReport
from sds.demo.view import Frame, render, summary, whats_next
from tests.fakes.clock import EPOCH

FRONT = SidecarView(
    "frontend",
    "spiffe://example.org/frontend",
    4711,
    "aa11bb22cc33dd44",
    EPOCH + timedelta(seconds=4),
    ("aa11bb22cc33dd44",),
    7,
    617,
)
BACK = replace(FRONT, name="backend", serial="ee55", serials=("1", "2", "3"), pid=4712)
FRAME = Frame(
    now=EPOCH,
    elapsed=timedelta(seconds=65),
    lifetime=timedelta(seconds=10),
    sidecars=(FRONT, BACK),
    report=Report(2, 1234, 0, 56, 5, (1.5, 2.5), 0),
    failures=(),
    refusal="frontend asks for spiffe://example.org/backend too and gets nothing",
    refused=True,
    goal=20,
    socket="/tmp/x/agent/sds.sock",
    hints=(("sds agent streams --admin-socket /tmp/x/admin.sock", "who holds what"),),
)


def text(frame: Frame, width: int = 100) -> str:
    console = Console(width=width, record=True, file=StringIO())
    console.print(render(frame))
    return console.export_text()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_everything_that_was_promised_is_shown(width: int) -> None:
    shown = " ".join(text(FRAME, width).split())
    for part in ("frontend", "backend", "aa11bb22", "4.0 s", "617", "1,234", "0 failed", "rotation 2 of 20", "01:05"):
        assert part in shown, part
    assert "✓ refused" in shown
    assert "in use" in shown
    assert "new" in shown  # the serial that Envoy holds, but its peer has not seen
    assert "sds agent streams --admin-socket /tmp/x/admin.sock" in shown
    assert "Sidecars connect at /tmp/x/agent/sds.sock" in shown


@pytest.mark.parametrize("width", [80, 200])
def test_who_uses_which_value_of_the_secret_is_shown(width: int) -> None:
    secret = SecretView("kv/sds/partner", {"frontend": "key-4", "backend": "key-3"}, 3, Change(4, "key-4", 1.0, {}))
    secret = replace(secret, last=replace(secret.last, used={"frontend": 0.876}))
    shown = " ".join(text(replace(FRAME, secret=secret), width).split())
    assert "Vault kv/sds/partner 3 changes newest: key-4" in shown
    assert "frontend uses key-4 0.88 s after its change in Vault" in shown
    assert "backend uses key-3 key-4 is on its way" in shown
    assert "Vault" not in text(FRAME, width)


def test_a_command_may_be_longer_than_a_line_is() -> None:
    command = f"export BAO_TOKEN=$(cat /tmp/{'x' * 100}/token)"
    console = Console(width=80, record=True, file=StringIO())
    console.print(whats_next("/tmp/s.sock", [(command, "")]), soft_wrap=True)
    assert command in console.export_text()


def test_failures_are_shown_and_an_identity_given_away_is_loud() -> None:
    shown = text(replace(FRAME, failures=("503: upstream",), refused=False, sidecars=()))
    assert "503: upstream" in shown
    assert "NOT refused" in shown


def test_an_expired_certificate_is_zero_seconds() -> None:
    shown = text(replace(FRAME, sidecars=(replace(FRONT, not_after=EPOCH - timedelta(seconds=5)),)))
    assert " 0.0 s" in shown


def test_the_summary_says_whether_it_held() -> None:
    assert summary(FRAME.report, timedelta(seconds=9)).plain.startswith("passed")
    assert summary(replace(FRAME.report, failed=1), timedelta(seconds=9)).plain.startswith("FAILED")
    assert "Vault" not in summary(FRAME.report, timedelta(seconds=9)).plain
    secret = SecretReport(2, {"frontend": (800.0, 900.0)})
    said = summary(replace(FRAME.report, secret=secret), timedelta(seconds=9)).plain
    assert "2 changes of the secret in Vault, 800.0 ms (p99 900.0) until frontend used it" in said

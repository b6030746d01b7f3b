"""sds notice over a fake server."""

from __future__ import annotations

from sds.cli.errors import ExitCode
from tests.unit.cli.conftest import Sds


def test_what_stands_is_listed(sds: Sds) -> None:
    listed = sds.json("notice", "list", "--kind", "authority")
    assert [each["id"] for each in listed["notices"]] == ["notice-2"]
    shown = sds("notice", "list").stdout
    assert "certificate" in shown
    assert "ops@example.org" in shown


def test_a_test_message_and_one_that_was_refused(sds: Sds) -> None:
    assert "A test message to ops@example.org was taken over." in sds("notice", "test", "ops@example.org").stdout
    assert sds.json("notice", "test", "ops@example.org")["sent"] is True
    refused = sds("notice", "test", "x@example.org", code=ExitCode.FAILED)
    assert "550 no" in refused.stderr

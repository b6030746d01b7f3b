"""docs/client.md: its programs run, and what it names exists."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

import pytest

from sds.client import Client, errors
from tests.fakes.admin_server import Running

PAGE = (Path(__file__).parents[3] / "docs" / "client.md").read_text()


def test_the_programs_of_the_page_run(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """In their order, in one namespace; the socket alone is another one."""
    names: dict[str, object] = {}
    programs = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert len(programs) == 4
    for program in programs:
        exec(program.replace("/var/lib/sds/server/admin.sock", str(running.socket)), names)  # the page's own
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "somebody changed it; now it is revision 2"
    assert shown[1].startswith("no such entry: no-such-entry ")
    assert shown[2] == "['ttl_seconds']"
    assert shown[3].startswith("GET /v1/statistics 200 ")


def test_every_noun_is_named_and_none_that_is_not_there() -> None:
    section = PAGE[PAGE.index("## Nouns") : PAGE.index("* **Results**")]
    nouns = {name for name, each in vars(Client).items() if isinstance(each, cached_property)}
    assert set(re.findall(r"`([a-z]+)`", section)) == nouns


def test_every_error_is_named_and_none_that_is_not_there() -> None:
    section = PAGE[PAGE.index("## Errors") : PAGE.index("```python\nfrom sds.client.errors import Invalid")]
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", section))
    made = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}
    assert named == made - {"ClientError", "BrokenOff"}

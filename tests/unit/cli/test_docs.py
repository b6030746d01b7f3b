"""docs/cli.md names every command and every exit code, and its examples are what the commands take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from sds.cli.errors import ExitCode
from sds.cli.main import program
from tests.unit.cli.conftest import Sds

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()


def commands(group: Any, above: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        path = f"{above} {name}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, path)
        else:
            yield path


def documented() -> set[str]:
    found = set()
    for cell in re.findall(r"^\| (`sds [^|]*) \|", PAGE, re.MULTILINE):
        first, *others = re.findall(r"`(?:sds )?([a-z ]+)`", cell)
        noun = first.rpartition(" ")[0]
        found |= {first, *(f"{noun} {other}" for other in others)}
    return found


def test_every_command_is_named_and_none_that_is_not_there() -> None:
    assert documented() == set(commands(typer.main.get_command(program())))


def test_every_exit_code_is_named() -> None:
    table = PAGE[PAGE.index("### Exit codes") :]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == {int(code) for code in ExitCode}


def test_the_example_file_applies(sds: Sds, tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "entries.toml").write_text(example)
    changes = sds.json("entry", "apply", "-f", str(tmp_path / "entries.toml"))["changes"]
    assert [each["action"] for each in changes] == ["create"]


def test_examples_name_flags_that_exist(sds: Sds) -> None:
    for line in re.findall(r"^\$ (sds .*)$", PAGE, re.MULTILINE):
        words = line.split()[1:]
        verbs = [word for word in words[:2] if not word.startswith("-") and word.islower()]
        shown = sds(*verbs, "--help").stdout
        for flag in re.findall(r"(?<= )--?[a-z0-9-]+", line):
            assert flag in shown, (line, flag)

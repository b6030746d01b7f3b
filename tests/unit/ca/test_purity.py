"""The deciding modules decide: they neither read the clock, nor draw, nor log, nor wait."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

CA = Path(__file__).parents[3] / "ca"
FORBIDDEN = {"asyncio", "time", "random", "secrets", "logging", "os", "socket", "threading", "structlog", "sds"}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", sorted(CA.glob("*.py")), ids=lambda path: path.name)
def test_pure(path: Path) -> None:
    assert not imported(path) & FORBIDDEN

"""CI=true turns a skip into a failure, and nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SKIPS = """
import pytest
def test_calls_skip(): pytest.skip("needs initdb: apt-get install postgresql")
@pytest.mark.skipif(True, reason="needs a tool")
def test_is_marked(): pytest.fail("not reached")
def test_of_the_kernel(): pytest.skip("kernel: no pidfd of a peer")
"""


@pytest.mark.parametrize(("ci", "line"), [("true", "1 failed, 1 skipped, 2 errors"), ("", "4 skipped")])
def test_skips(tmp_path: Path, ci: str, line: str) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_skips.py").write_text(SKIPS)
    (tmp_path / "test_module.py").write_text("import pytest; pytest.importorskip('no_such_module')")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", "."],
        cwd=tmp_path,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert line in result.stdout


MARKED = """
import pytest
from pathlib import Path
from tests.fakes.vault_server import VaultBinary, vault_binaries
FIRST, OTHER = vault_binaries()[0], VaultBinary("other", Path("/nowhere"))
@pytest.mark.parametrize("binary", [FIRST, OTHER], ids=str)
def test_repeated(binary): pass
@pytest.mark.parametrize("place", [("a", None), ("b", FIRST), ("b", OTHER)], ids=["none", "first", "other"])
def test_in_places(place): pass
@pytest.mark.both_vaults
@pytest.mark.parametrize("binary", [FIRST, OTHER], ids=str)
def test_of_both(binary): pass
@pytest.mark.slow_on("postgresql")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_waits(database): pass
def test_plain(): pass
"""


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (
            "not slow",
            {
                "test_repeated[openbao]",
                "test_in_places[none]",
                "test_in_places[first]",
                "test_of_both[openbao]",
                "test_of_both[other]",
                "test_waits[sqlite]",
                "test_plain",
            },
        ),
        ("second_vault", {"test_repeated[other]", "test_in_places[other]"}),
        ("slow and not second_vault", {"test_waits[postgresql]"}),
    ],
)
def test_each_test_is_either_quick_or_slow(tmp_path: Path, chosen: str, expected: set[str]) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_marks.py").write_text(MARKED)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", "-m", chosen, "."],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found = {line.partition("::")[2] for line in result.stdout.splitlines() if "::" in line}
    assert found == expected, result.stdout

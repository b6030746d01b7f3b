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

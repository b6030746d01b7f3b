"""What `pip install .` gives: everything that the program needs at run time, and nothing of the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that building leaves nothing in the tree."""
    source = tmp_path_factory.mktemp("source")
    for name in ("sds", "ca", "attestation", "migrations"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (made,) = out.glob("*.whl")
    return made


def test_it_holds_the_program_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0].split("-")[0] for name in names} == {"sds", "ca", "attestation"}
    for package in ("sds", "ca", "attestation"):
        assert f"{package}/py.typed" in names
        sources = {str(p.relative_to(ROOT)) for p in (ROOT / package).rglob("*") if p.is_file()}
        assert {s for s in sources if "__pycache__" not in s} <= names
    assert "sds/_pb/sds/node/v1/node_pb2_grpc.py" in names
    migrations = {f"sds/_migrations/{p.relative_to(ROOT / 'migrations')}" for p in (ROOT / "migrations").rglob("*.py")}
    assert migrations
    assert migrations <= names


def test_the_installed_program_makes_its_database(wheel: Path, tmp_path: Path) -> None:
    """`sds db upgrade` runs from the wheel's own migrations, out of sight of this tree."""
    site = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True, timeout=120)
    program = "import sds, sys; assert sds.__file__.startswith(sys.argv.pop(1)); from sds.cli.main import main; main()"
    data = tmp_path / "data"
    ran = subprocess.run(
        [sys.executable, "-c", program, str(site), "db", "upgrade", "--data-dir", str(data)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (data / "sds.sqlite3").exists()

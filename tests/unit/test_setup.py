"""`make setup` on machines that lack something: it installs that when root, else names the command."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci/python"
# A Python as Debian ships it: fine, but without ensurepip until apt-get was called.
BARE = """#!/bin/bash
case "$*" in *ensurepip*) [ -e "$0.venv" ] || exit 1 ;; esac
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; exit 0; fi
exec {python} "$@"
"""
OLD = '#!/bin/bash\n[ "$1" = -V ] && echo Python 3.9.2\nexit 1\n'
ID = "#!/bin/bash\necho {uid}\n"
APT = '#!/bin/bash\necho "$*" >>"$(dirname "$0")/apt.log"\nfor p in "$(dirname "$0")"/python3*; do touch "$p.venv"; done\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("bash", "env", "rm", "mkdir", "dirname", "touch", "cat"):
        (folder / tool).symlink_to(shutil.which(tool))
    return folder


def put(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def run(path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, path.parent / "venv"],
        env={"PATH": str(path)} | {"PYTHON": "python3 python3.12"} | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_user_is_told_the_command(path: Path) -> None:
    put(path, "python3", BARE.format(python=sys.executable))
    put(path, "id", ID.format(uid=1000))
    put(path, "apt-get", APT)
    ran = run(path)
    major, minor = sys.version_info[:2]
    assert ran.returncode == 1
    assert f"sudo apt-get install python{major}.{minor}-venv" in ran.stderr
    assert not (path / "apt.log").exists()


def test_root_gets_it_installed(path: Path) -> None:
    put(path, "python3", BARE.format(python=sys.executable))
    put(path, "id", ID.format(uid=0))
    put(path, "apt-get", APT)
    ran = run(path)
    major, minor = sys.version_info[:2]
    assert ran.returncode == 0, ran.stderr
    assert f"python{major}.{minor}-venv" in (path / "apt.log").read_text()
    assert (path.parent / "venv/bin").is_dir()


def test_an_old_python_is_passed_over(path: Path) -> None:
    put(path, "python3", OLD)
    put(path, "python3.12", BARE.format(python=sys.executable))
    put(path, "python3.12.venv", "")
    put(path, "id", ID.format(uid=1000))
    assert run(path).returncode == 0


def test_a_wrong_choice_is_named(path: Path) -> None:
    put(path, "python3", OLD)
    put(path, "id", ID.format(uid=0))
    ran = run(path, PYTHON="python3")
    assert ran.returncode == 1
    assert "PYTHON=python3 is not a Python 3.11 to 3.14" in ran.stderr


def test_a_venv_that_works_is_kept_and_a_broken_one_is_made_anew(path: Path, tmp_path: Path) -> None:
    put(path, "id", ID.format(uid=1000))
    put(path, "python3", BARE.format(python=sys.executable))
    put(path, "python3.venv", "")
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to("/nonexistent/python")
    (venv / "left").touch()
    assert run(path).returncode == 0
    assert not (venv / "left").exists()
    (venv / "bin/python").symlink_to(sys.executable)
    (venv / "kept").touch()
    assert run(path).returncode == 0
    assert (venv / "kept").exists()

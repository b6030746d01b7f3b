"""The lock files agree with pyproject.toml and with each other, and generated code with proto/."""

from __future__ import annotations

import filecmp
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINNED = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?P<version>[^ ;\\]+)", re.MULTILINE)
RUNTIME = PROJECT["project"]["dependencies"]
DEMO = PROJECT["project"]["optional-dependencies"]["demo"]
BUILD = PROJECT["dependency-groups"]["build"]
TEST = [r for r in PROJECT["dependency-groups"]["test"] if isinstance(r, str)]


def pins(file: str) -> dict[str, set[str]]:
    """Versions by name; a universal lock may pin several, each for some platforms."""
    found: dict[str, set[str]] = {}
    for match in PINNED.finditer((ROOT / file).read_text()):
        found.setdefault(canonicalize_name(match["name"]), set()).add(match["version"])
    return found


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("requirements.lock", RUNTIME),
        ("requirements-demo.lock", [*RUNTIME, *DEMO, *BUILD]),
        ("requirements-test.lock", [*RUNTIME, *DEMO, *BUILD, *TEST]),
    ],
)
def test_the_lock_holds_what_pyproject_asks_for(file: str, wanted: list[str]) -> None:
    locked = pins(file)
    for text in wanted:
        requirement = Requirement(text)
        versions = locked.get(canonicalize_name(requirement.name))
        assert versions, f"{requirement.name} is not in {file}; run: make lock"
        assert all(requirement.specifier.contains(v, prereleases=True) for v in versions), f"{text}: run make lock"


def test_the_locks_pin_the_same_versions() -> None:
    everything = pins("requirements-test.lock")
    for file in ("requirements.lock", "requirements-demo.lock"):
        for name, versions in pins(file).items():
            assert versions == everything.get(name), f"{name} differs between {file} and requirements-test.lock"


@pytest.mark.parametrize("file", ["requirements.lock", "requirements-demo.lock", "requirements-test.lock"])
def test_every_pin_is_hashed_and_names_no_host(file: str) -> None:
    text = (ROOT / file).read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", text)
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text


def test_the_generated_code_is_current(tmp_path: Path) -> None:
    subprocess.run([ROOT / ".ci/proto", sys.executable, tmp_path], cwd=ROOT, check=True, timeout=60)
    fresh = {p.relative_to(tmp_path) for p in tmp_path.rglob("*_pb2*.py*")}
    stands = {p.relative_to(ROOT) for p in (ROOT / "sds/_pb").rglob("*_pb2*.py*") if p.suffix != ".pyc"}
    assert fresh == stands
    differing = [str(p) for p in fresh if not filecmp.cmp(tmp_path / p, ROOT / p, shallow=False)]
    assert differing == [], "run: make proto"


def test_every_dependency_has_its_reason() -> None:
    """docs/dependencies.md has one line for each, and none for what is gone."""
    rows = re.findall(
        r"^\| ([a-z0-9-]+(?:, [a-z0-9-]+)*) \|", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE
    )
    explained = {name for row in rows for name in row.split(", ")} - {"library"}
    assert explained == {canonicalize_name(Requirement(text).name) for text in [*RUNTIME, *DEMO, *BUILD, *TEST]}

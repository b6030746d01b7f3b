"""What the documentation tells people to type works: `sh` blocks are run in order, and every `sds` command parses."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sds.demo.ports import free_ports
from tests.e2e.harness.cli import sds

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
RUN = [page for page in PAGES if "\n```sh\n" in page.read_text()]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder() -> AsyncIterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="docs-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
async def test_the_shell_blocks_of_a_page_work(page: Path, folder: Path) -> None:
    """All of a page's blocks as one script in an empty folder; background processes are ended with it."""
    ports = free_ports(2)
    script = "\n".join(blocks(page, "sh")).replace("127.0.0.1:8443", f"127.0.0.1:{ports[0]}")
    script = f"set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n{script}"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", script),
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 150)
    assert process.returncode == 0, out.decode()
    if page.name == "README.md":
        assert b"spiffe://example.org/orders" in out


def commands() -> list[str]:
    """Every line in a `console` or `sh` block that calls sds, without prompt and redirections."""
    found = set()
    for page in PAGES:
        for block in [*blocks(page, "console"), *blocks(page, "sh")]:
            for line in block.replace("\\\n", " ").splitlines():
                match = re.match(r"^ *(?:[a-z]*[$#] )?(sds .*?)(?: *[>&|].*)?$", line)
                if match:
                    found.add(match[1])
    return sorted(found)


@pytest.mark.parametrize("command", commands())
async def test_every_command_that_is_shown_exists_with_these_flags(command: str) -> None:
    """With --help added nothing is done, but unknown commands and flags are refused."""
    args = shlex.split(command)[1:]
    names = []
    for arg in args:
        if arg.startswith("-"):
            break
        names.append(arg)
    helped = None
    while names and (helped is None or helped.status != 0):
        helped = await sds(*names, "--help")
        names.pop()
    assert helped is not None
    assert helped.status == 0, command
    for flag in re.findall(r"(?<=\s)--[a-z0-9-]+", command):
        assert flag in helped.out, f"{flag} of: {command}"


def test_links_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("unit", sorted((ROOT / "deploy/systemd").glob("*.service")), ids=lambda unit: unit.name)
async def test_the_units_call_the_program_with_flags_that_it_has(unit: Path) -> None:
    (command,) = re.findall(r"^ExecStart=\S*/(sds .*)$", unit.read_text(), re.MULTILINE)
    words = shlex.split(command)
    helped = (await sds(*words[1:3], "--help")).ok()
    assert all(word in helped.out for word in words if word.startswith("--"))


def defined() -> dict[str, list[str]]:
    """Each test's name, and the files that define one of that name."""
    found: dict[str, list[str]] = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for name in set(re.findall(r"^ *(?:async )?def (test_[a-z0-9_]+)\(", file.read_text(), re.MULTILINE)):
            found.setdefault(name, []).append(str(file.relative_to(ROOT)))
    return found


def named(text: str) -> set[tuple[str, str]]:
    """The tests that a page names as `test_name`, or as `file.py::test_name` where several have one name."""
    return set(re.findall(r"`(?:([a-z0-9_/]+\.py)::)?(test_[a-z0-9_]+)`", text))


def places(one: tuple[str, str], tests: dict[str, list[str]]) -> list[str]:
    """The files that have the test that is meant."""
    file, name = one
    return [path for path in tests.get(name, []) if not file or path.endswith(f"/{file}")]


def test_every_test_that_the_threat_model_names_exists() -> None:
    tests, found = defined(), named((ROOT / "docs/threat-model.md").read_text())
    assert len(found) > 30
    assert [name for file, name in found if not places((file, name), tests)] == []


CONFORMANCE = (ROOT / "docs/conformance.md").read_text()
STANDARDS = re.findall(r"^## ([^\n]+)\nSentences: (\d+)\.\n(.*?)(?=^## )", CONFORMANCE, re.DOTALL | re.MULTILINE)


def rows(section: str) -> list[list[str]]:
    """A table's cells, without its head."""
    lines = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    return [line.split(" | ") for line in lines[1:]]


@pytest.mark.parametrize(("standard", "sentences", "section"), STANDARDS, ids=[one[0] for one in STANDARDS])
def test_every_clause_has_a_line_with_its_test_or_the_reason_why_not(
    standard: str, sentences: str, section: str
) -> None:
    assert len(rows(section)) == int(sentences), standard
    for row in rows(section):
        assert len(row) == 4, row
        assert re.fullmatch(r"\d+(\.\d+)*", row[0]), row
        assert all(row), row
        assert bool(named(row[3])) is not row[3].startswith("none: "), row


def test_every_test_that_stands_for_a_clause_exists_and_is_the_only_one_of_its_name() -> None:
    tests, found = defined(), named(CONFORMANCE)
    assert len(found) > 100
    assert {one: places(one, tests) for one in found if len(places(one, tests)) != 1} == {}


def test_no_standard_and_no_sentence_is_lost_from_the_page_on_conformance() -> None:
    """The numbers are those of the standards' texts at the commit that the page names."""
    counted = {standard: int(sentences) for standard, sentences, _ in STANDARDS}
    assert counted == {
        "SPIFFE ID": 15,
        "X509-SVID": 23,
        "JWT-SVID": 16,
        "Trust domain and bundle": 15,
        "Federation": 31,
        "Workload Endpoint": 14,
        "Workload API": 30,
    }
    (total,) = re.findall(r"^(\d+) sentences in all", CONFORMANCE, re.MULTILINE)
    assert int(total) == sum(counted.values())


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs/adr"
    listed = set(re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text()))
    assert listed == {page.name for page in folder.glob("[0-9]*.md")}

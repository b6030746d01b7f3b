"""The alert rules for Prometheus: tried by promtool, each with a test and a runbook, and of metrics that there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from sds.metrics import AgentMetrics, ServerMetrics

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/sds.rules.yml"
TESTS = sorted((ROOT / "deploy/prometheus/tests").glob("*.yml"))
PAGES = ROOT / "docs/runbooks"
SECTIONS = ("What it means", "Impact", "Check", "Fix", "How it ends")


def alerts() -> dict[str, str]:
    """The text of each alert's rule, by its name."""
    parts = re.split(r"^ +- alert: (\w+)$", RULES.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def expression(rule: str) -> str:
    found = re.search(r"^ +expr: '(.*)'$", rule, re.MULTILINE)
    assert found, rule
    return found[1].replace("''", "'")


def promtool(*arguments: str) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("there is no promtool (Debian package prometheus)")
    ran = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_rules_are_rules() -> None:
    promtool("check", "rules", str(RULES))


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_alerts_fire_and_keep_quiet_when_they_should(file: Path) -> None:
    promtool("test", "rules", str(file))


def test_each_alert_is_tried_firing_and_quiet() -> None:
    names = re.findall(r"^  - name: (\w+ (?:fires|is quiet))$", "".join(map(Path.read_text, TESTS)), re.MULTILINE)
    assert sorted(names) == sorted(f"{name} {how}" for name in alerts() for how in ("fires", "is quiet"))


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    pages = {page.stem for page in PAGES.glob("*.md")} - {"README"}
    assert pages == set(alerts())
    index = (PAGES / "README.md").read_text()
    for name, rule in alerts().items():
        page = (PAGES / f"{name}.md").read_text()
        assert f"runbook: docs/runbooks/{name}.md\n" in rule
        assert f"({name}.md)" in index
        assert f"`{expression(rule)}`" in page, f"{name}: the page has another expression"
        assert tuple(re.findall(r"^## (.*)$", page, re.MULTILINE)) == SECTIONS
        assert "```console\n" in page


def test_severities_are_two() -> None:
    found = {name: re.findall(r"^ +severity: (\w+)$", rule, re.MULTILINE) for name, rule in alerts().items()}
    assert all(each in (["warning"], ["critical"]) for each in found.values()), found


def test_every_metric_that_an_alert_names_exists() -> None:
    registry = CollectorRegistry()
    server, agent = ServerMetrics(registry), AgentMetrics(registry)
    assert server, agent
    kinds = {family.name: family.type for family in registry.collect()}
    named = {"up"}
    for rule in alerts().values():
        named |= set(re.findall(r"\b(?:sds_(?:server|agent)_[a-z_]+)\b", expression(rule)))
    missing = []
    for name in named - {"up"}:
        base = name.removesuffix("_total")
        if kinds.get(base) != ("counter" if name.endswith("_total") else "gauge"):
            missing.append(name)
    assert missing == []
    assert len(named) > 20

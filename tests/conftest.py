"""What all tests share: no silent skips in CI, how many rounds a long test runs, and that properties have no deadline."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest
from hypothesis import settings

from tests.fakes.vault_fixtures import mark_backends, vault_binary, vault_on_disk, vault_own, vault_shared, vaults

__all__ = ["vault_binary", "vault_on_disk", "vault_own", "vault_shared", "vaults"]

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
CI = os.environ.get("CI") == "true"
KERNEL = "kernel: "
"""A skip whose reason starts so is about what this kernel or these privileges cannot do, and is allowed in CI."""

# Hypothesis fails a property if one of its examples takes 200 ms: on a busy machine any may.
settings.register_profile("sds", settings.default, deadline=None)
settings.load_profile("sds")


def refuse_skip(report: Report) -> Report:
    """With CI=true a test or module that skips itself, as they do for a missing tool, fails."""
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(KERNEL):
            report.outcome = "failed"
            report.longrepr = f"{report.nodeid}: nothing may be skipped with CI=true ({reason})"
    return report


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_backends(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return refuse_skip((yield))


@pytest.fixture(scope="session")
def long_share() -> float:
    """Which share of their rounds the long tests run: 1 by hand, less in CI (`make test-long LONG_SHARE=0.1`)."""
    return float(os.environ.get("SDS_LONG_SHARE", "1"))

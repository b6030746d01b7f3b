"""One browser and one server for all tests of a file; each test has windows of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.e2e.pages.browser import CHROMIUM, Window, chromium
from tests.e2e.pages.serving import Served, served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def site() -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture
def window(browser: Browser, site: Served) -> Iterator[Callable[..., Window]]:
    """Opens windows, and afterwards asks each of them whether anything was amiss."""
    opened: list[Window] = []
    site.be(None)

    def make(**options: Any) -> Window:
        opened.append(Window(browser, site.base, **options))
        return opened[-1]

    yield make
    for each in opened:
        amiss = each.seen.violations, each.seen.elsewhere
        each.close()
        assert amiss == ([], [])

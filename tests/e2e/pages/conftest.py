"""One browser and one server for all tests of a file; each test has windows of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright
from playwright.sync_api import Browser

from tests.e2e.pages.browser import ARGS, CHROMIUM, LISTEN, Window, chromium
from tests.e2e.pages.serving import Served, served

LONG = 60_000
Visit = Callable[[str, str], Awaitable[Page]]
"""Opens a path of a server in a fresh profile."""


def _need_chromium() -> None:
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed (apt-get install chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    _need_chromium()
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


@pytest.fixture
async def visit() -> AsyncIterator[Visit]:
    """For servers that live in the test's own loop. At the end our policy must have refused nothing, on any page."""
    _need_chromium()
    opened: list[Page] = []
    complaints: list[str] = []

    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGS), timeout=90_000)

        async def make(base: str, path: str) -> Page:
            # The test's own authority is none that the browser knows.
            context = await found.new_context(base_url=base, ignore_https_errors=True)
            context.set_default_timeout(LONG)
            await context.add_init_script(LISTEN)
            page = await context.new_page()
            page.on("console", lambda message: complaints.append(message.text) if "Policy" in message.text else None)
            opened.append(page)
            await page.goto(path)
            return page

        try:
            yield make
            for page in opened:
                complaints += await page.evaluate("window.__violations")
        finally:
            await found.close()
    assert complaints == []

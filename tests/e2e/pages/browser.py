"""A real Chromium over the pages: what it refuses by our policy, what it complains of, and what axe-core finds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
ARGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-dev-shm-usage",
)  # fmt: skip
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
WIDE: ViewportSize = {"width": 1280, "height": 800}
NARROW: ViewportSize = {"width": 390, "height": 844}
LISTEN = """
window.__violations = [];
document.addEventListener("securitypolicyviolation", function (event) {
  window.__violations.push(event.violatedDirective + " " + event.blockedURI + " " + event.sample);
});
"""


@dataclass
class Seen:
    """What went wrong in a browser, over all its pages: each list must stay empty."""

    violations: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGS), timeout=90_000)
        try:
            yield browser
        finally:
            browser.close()


class Window:
    """A fresh profile whose page tells what it was refused."""

    def __init__(self, browser: Browser, base: str, **options: Any) -> None:
        self.base = base
        self.seen = Seen()
        self.context: BrowserContext = browser.new_context(base_url=base, bypass_csp=False, **options)
        self.context.set_default_timeout(60_000)
        self.context.add_init_script(LISTEN)
        self.page: Page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.seen.errors.append(str(error)))
        self.page.on("request", self._request)

    def _console(self, message: Any) -> None:
        if message.type == "error":
            text = f"{message.text} {message.location.get('url', '')}"
            (self.seen.violations if "Content Security Policy" in text else self.seen.errors).append(text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:", "blob:")):
            self.seen.elsewhere.append(request.url)

    def open(self, path: str) -> Page:
        """Navigate; the page is complete but for what goes on being streamed."""
        self.page.goto(path, wait_until="load")
        return self.page

    def refused(self) -> list[str]:
        """Violations of the policy on the page as it is, and on all before it."""
        return [*self.seen.violations, *self.page.evaluate("window.__violations")]

    def axe(self, *, colours_alone: bool = False) -> list[str]:
        """Serious and critical findings of axe-core on this page. `colours_alone`: by the rule on contrast and no other."""
        if not self.page.evaluate("'axe' in window"):
            # The driver puts the script into the page itself, below its policy: no element is made for it.
            self.page.evaluate(AXE.read_text())
        rules = {"runOnly": {"type": "rule", "values": ["color-contrast"]}} if colours_alone else {}
        found = self.page.evaluate("asked => axe.run(document, asked)", {"resultTypes": ["violations"], **rules})
        return [
            f"{each['id']}: {each['help']} {[node['html'][:160] for node in each['nodes'][:3]]}"
            for each in found["violations"]
            if each["impact"] in {"serious", "critical"}
        ]

    def close(self) -> None:
        self.context.close()

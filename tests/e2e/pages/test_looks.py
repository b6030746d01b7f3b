"""Every page in a real Chromium: light and dark, wide and narrow, by eye, by keyboard and by a screen reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, ViewportSize

from sds.admin.access.roles import Role
from tests.e2e.pages.browser import NARROW, WIDE, Window
from tests.e2e.pages.serving import Served, served
from tests.fakes.pages import Texts, every_page

pytestmark = pytest.mark.e2e
SHOTS = Path(__file__).parents[3] / "build" / "screenshots"
"""Kept, so that somebody can look at them; `build/` is not committed."""
LOOKS: tuple[tuple[Literal["light", "dark"], ViewportSize, bool], ...] = (
    ("light", WIDE, False),
    ("dark", WIDE, True),
    ("dark", NARROW, False),
    ("light", NARROW, True),
)
"""Each differs from the one before it in one thing; where that is the scheme, nothing but contrast can be new."""
MISPLACED = """() => {
  const found = [], root = document.documentElement, say = (what, at) => found.push(what + ": " + at.outerHTML.slice(0, 160));
  if (root.scrollWidth > window.innerWidth) found.push(root.scrollWidth - window.innerWidth + " px too wide");
  for (const card of document.querySelectorAll(".card")) if (card.scrollWidth > card.clientWidth + 1) say("sticks out", card);
  for (const text of document.querySelectorAll(".chart text")) {
    const size = parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a;
    if (size < 7.5) say(size.toFixed(1) + " px high", text);
  }
  for (const cell of document.querySelectorAll("table.stack tbody > tr > *")) {
    if (getComputedStyle(cell).display !== "block") continue;
    for (const part of cell.children)
      if (part.getClientRects().length && part.getBoundingClientRect().left < cell.getBoundingClientRect().left + 100)
        say("among the labels", cell);
  }
  return found;
}"""
"""What sticks out of the screen or of its card, is too small to read, or stands where a stacked table has its labels."""
CANARY = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script>\"'>{{7*7}}"


def test_every_page_is_sound(site: Served, window: Callable[..., Window]) -> None:
    """axe-core finds nothing serious, our policy refuses nothing, and nothing sticks out sideways: in each look.

    A page is loaded once and then changes its look, as with somebody who turns a phone or whose evening comes.
    """
    SHOTS.mkdir(parents=True, exist_ok=True)
    shown = window(color_scheme="light", viewport=WIDE)
    found: dict[str, object] = {}
    for name, path in every_page(site.fakes).items():
        page = shown.open(path)
        for scheme, view, colours_alone in LOOKS:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(view)
            page.screenshot(path=SHOTS / f"{name}-{scheme}-{view['width']}.png", full_page=True)
            if amiss := [*shown.axe(colours_alone=colours_alone), *shown.refused(), *page.evaluate(MISPLACED)]:
                found[f"{name}, {scheme} at {view['width']}"] = amiss
    assert found == {}
    assert [each for each in shown.seen.errors if "status of 404" not in each] == []


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR, Role.OPERATOR])
def test_each_role_has_its_pages(site: Served, window: Callable[..., Window], role: Role) -> None:
    site.be(role)
    shown = window(viewport=WIDE)
    page = shown.open("/")
    labels = page.locator("#nav a").all_inner_texts()
    assert ("Audit" in labels) is (role is Role.AUDITOR)
    assert {"Overview", "Certificates", "Workloads", "Agents", "Entries", "Secrets", "Authorities"} <= set(labels)
    for label in labels:
        page.click(f"#nav a:text-is('{label}')")
        page.wait_for_load_state("load")
        assert page.locator("#nav a[aria-current]").inner_text() == label
    shown.open("/entries")
    assert (page.locator("text=New entry").count() == 1) is (role is Role.OPERATOR)
    assert shown.refused() == []


def test_whatever_people_write_stays_text(browser: Browser) -> None:
    """A canary in every free text of every noun: no script of it runs, none is even refused."""
    with served(Texts(CANARY)) as infested:
        shown = Window(browser, infested.base, viewport=WIDE)
        try:
            for path in every_page(infested.fakes).values():
                page = shown.open(path)
                assert page.evaluate("window.pwned") is None
                assert page.locator("img").count() == 0
                assert shown.refused() == []
            assert "onerror" in shown.open("/entries").inner_text("main")
        finally:
            shown.close()


def test_a_walk_by_keyboard(window: Callable[..., Window]) -> None:
    shown = window(viewport=WIDE)
    page = shown.open("/entries")
    focused = "document.activeElement"
    page.keyboard.press("Tab")
    assert page.evaluate(f"{focused}.className") == "skip"
    assert page.evaluate(f"{focused}.getBoundingClientRect().top") >= 0  # it is seen once it has the focus
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(f"document.querySelector('main').contains({focused})")
    seen = set()
    while page.evaluate(f"{focused} !== document.body"):
        outline = page.evaluate(f"getComputedStyle({focused}).outlineStyle")
        assert outline not in {"none", ""}, page.evaluate(f"{focused}.outerHTML")
        seen.add(page.evaluate(f"{focused}.getAttribute('name') || {focused}.textContent.trim()"))
        page.keyboard.press("Tab")
        assert len(seen) < 200
    assert {"spiffe_id", "owner", "label", "Filter"} <= seen


def test_without_scripts_pages_are_whole(site: Served, window: Callable[..., Window]) -> None:
    shown = window(viewport=NARROW, java_script_enabled=False)
    for name in ("overview", "workloads", "entry-edit", "audit"):
        page = shown.page
        page.goto(every_page(site.fakes)[name])
        assert page.locator("h1").count() == 1
        assert page.locator("#nav a").first.is_visible()  # no button to open a menu, so the menu is open


def test_light_or_dark_is_remembered(window: Callable[..., Window]) -> None:
    shown = window(color_scheme="light", viewport=WIDE)
    page = shown.open("/entries")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("[data-theme-toggle]")
    dark = page.evaluate(background)
    assert dark != light
    shown.open("/agents")
    assert page.evaluate(background) == dark


def test_no_other_site_shows_a_page_in_its_frame(site: Served, browser: Browser) -> None:
    context = browser.new_context()
    try:
        page = context.new_page()
        page.set_content(f'<iframe src="{site.base}/entries"></iframe>')
        frame = page.frames[-1]
        page.wait_for_function("() => true")
        assert frame.locator("h1:text-is('Entries')").count() == 0
    finally:
        context.close()

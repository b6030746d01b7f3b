"""What people do on the pages, done in a real Chromium: each action, and pages that keep themselves up to date."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from attestation.entry import EntrySpec
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId
from tests.e2e.pages.browser import WIDE, Window
from tests.e2e.pages.serving import Served
from tests.fakes.pages import AGENT, CALL, SERIALS, SILENT

pytestmark = pytest.mark.e2e
CSRF = "a-secret-of-this-session"


@pytest.fixture
def shown(site: Served, window: Callable[..., Window]) -> Window:
    """Somebody with a session, so that every form needs its secret."""
    site.be(None, CSRF)
    return window(viewport=WIDE)


def test_an_entry_from_its_making_to_its_end(site: Served, shown: Window) -> None:
    page = shown.open("/entries")
    page.click("text=New entry")
    page.fill("[name=spiffe_id]", "spiffe://example.org/search/index")
    page.fill("[name=parent_id]", str(AGENT))
    page.fill("[name=selectors]", "unix:uid:4242\nunix:path:/usr/bin/index")
    page.fill("[name=owner]", "team-search")
    page.click("text=Show what it does")
    expect(page.locator("h1")).to_have_text("Make this entry?")
    page.click("text=Make it")
    expect(page.locator(".done")).to_have_text("Created.")
    entry = list(site.fakes.entries.rows.values())[-1]
    assert (entry.spec.owner, len(entry.spec.selectors)) == ("team-search", 2)

    page.click("text=Edit")
    page.fill("[name=owner]", "team-find")
    page.click("text=Show what it does")
    expect(page.locator("[aria-label='Blast radius']")).to_contain_text("team-find")
    page.click("text=Change it first")
    page.fill("[name=x509_ttl]", "45m")
    page.click("text=Show what it does")
    page.click("button:text-is('Save')")
    expect(page.locator(".done")).to_have_text("Saved.")
    changed = site.fakes.entries.rows[entry.id].spec
    assert (changed.owner, str(changed.x509_svid_ttl), changed.selectors) == ("team-find", "0:45:00", entry.selectors)

    page.click("text=Delete…")
    page.click("text=Delete it")
    expect(page.locator(".done")).to_have_text("Deleted.")
    assert entry.id not in site.fakes.entries.rows
    assert shown.refused() == []


def test_a_filter_is_a_url_that_can_be_shared(shown: Window) -> None:
    page = shown.open("/entries")
    page.fill("[name=owner]", "team-web")
    page.click("text=Filter")
    expect(page.locator("tbody tr")).to_have_count(2)
    assert "owner=team-web" in page.url
    page.goto(page.url)
    expect(page.locator("tbody tr")).to_have_count(2)
    page.goto("/entries?limit=2")
    page.click("text=Next page")
    expect(page.locator("tbody tr")).to_have_count(2)
    assert "cursor=" in page.url


def test_who_would_get_what(shown: Window) -> None:
    page = shown.open("/explain")
    page.fill("[name=selectors]", "unix:uid:1000")
    page.click("button:text-is('Explain')")
    expect(page.locator("section").last).to_contain_text("unix:path:/usr/local/bin/envoy")  # which is missing


def test_secrets_and_grants(site: Served, shown: Window) -> None:
    page = shown.open("/grants")
    page.fill("#g-secret", "web/token")
    page.select_option("[name=to]", "labels")
    page.fill("[name=subject]", "team=search")
    page.click("button:text-is('Grant')")
    expect(page.locator(".done")).to_have_text("Granted.")
    expect(page.locator(".matrix")).to_contain_text("team=search")
    shown.open("/secrets/web%2Ftoken")
    page.click("tr:has-text('team=search') >> text=Take back")
    expect(page.locator(".done")).to_have_text("The grant is taken back.")
    page.click("text=Ask its source")
    expect(page.locator(".done")).to_contain_text("The source was asked")
    page.click("text=Deliver this one")
    expect(page.locator(".done")).to_contain_text("This version is delivered")
    page.click("text=Delete…")
    expect(page.locator("main")).to_contain_text("Who loses it")
    page.click("text=Delete it")
    expect(page.locator(".done")).to_have_text("Deleted.")
    assert "web/token" not in site.fakes.secrets.rows


def test_a_rotation(site: Served, shown: Window) -> None:
    page = shown.open("/authorities")
    expect(page.locator("main")).to_contain_text("2 of 4 have bundle")
    page.click("text=Activate…")
    page.check("[name=force]")
    page.click("button:text-is('Activate')")
    expect(page.locator(".done")).to_have_text("It signs from now on.")
    page.click("text=Prepare the next X.509 authority")
    expect(page.locator(".done")).to_contain_text("published in the bundle")
    old = next(key for key, one in site.fakes.authorities.slots.items() if one.state == "old")
    shown.open(f"/authorities/{old}")
    page.click("text=Taint…")
    page.click("button:text-is('Taint')")
    expect(page.locator(".done")).to_contain_text("It signs nothing more")
    shown.open(f"/authorities/{old}/revoke")
    expect(page.locator("main")).to_contain_text("What was issued under it")
    page.click("button:text-is('Revoke')")
    expect(page.locator(".done")).to_have_text("It is out of the bundle.")
    assert site.fakes.authorities.slots[old].revoked


def test_a_revocation_and_its_lifting(site: Served, shown: Window) -> None:
    page = shown.open("/revoke")
    page.select_option("[name=kind]", "serial")
    page.fill("[name=value]", SERIALS[0])
    page.select_option("[name=reason]", "certificate-hold")
    page.fill("[name=incident]", "INC-7")
    page.click("text=Show what it hits")
    expect(page.locator("main")).to_contain_text("Out of reach")
    assert SERIALS[0] not in site.fakes.revocations.revoked
    page.click("button.destroy")
    expect(page.locator(".done")).to_have_text("Revoked.")
    expect(page.locator("main")).to_contain_text("INC-7")
    assert SERIALS[0] in site.fakes.revocations.revoked
    page.click("text=Lift it")
    expect(page.locator(".done")).to_contain_text("Lifted")


def test_an_agent_is_banned_and_forgotten(site: Served, shown: Window) -> None:
    page = shown.open(f"/agents/{quote(str(SILENT), safe='')}")
    page.click("text=Ban…")
    page.fill("[name=reason]", "stolen")
    page.click("text=Ban it")
    expect(page.locator("main")).to_contain_text("stolen")
    page.click("text=Forget…")
    page.click("text=Forget it")
    expect(page.locator(".done")).to_have_text("Deleted.")
    assert SILENT not in site.fakes.agents.rows


def test_a_test_message(shown: Window) -> None:
    page = shown.open("/notices")
    page.fill("#t-recipient", "nobody@example.org")
    page.click("text=Send it")
    expect(page.locator("[role=alert]")).to_contain_text("550 no")
    page.fill("#t-recipient", "ops@example.org")
    page.click("text=Send it")
    expect(page.locator(".done")).to_have_text("The test message is on its way.")


def test_a_page_changes_while_one_looks_at_it(site: Served, shown: Window) -> None:
    page = shown.open("/entries")
    expect(page.locator("[data-live-text]")).to_have_text("Live")
    spec = EntrySpec(SpiffeId.parse("spiffe://example.org/fresh"), AGENT, frozenset({Selector("unix", "uid:9")}))
    expect(page.locator("tbody")).not_to_contain_text("/fresh")
    site.do(lambda: site.fakes.entries.create(CALL, spec))
    expect(page.locator("tbody")).to_contain_text("/fresh", timeout=45_000)
    assert shown.refused() == []


def test_where_no_stream_comes_through_pages_ask_now_and_then(shown: Window) -> None:
    shown.page.route("**/changes", lambda route: route.abort())
    page = shown.open("/entries")
    expect(page.locator("[data-live-text]")).to_have_text("Every 15 s")


def test_a_form_of_another_site_does_nothing(site: Served, shown: Window) -> None:
    """The browser itself says where it comes from; and without the session's secret nothing happens either."""
    entry = next(iter(site.fakes.entries.rows))
    page = shown.page
    page.set_content(f"<form method=post action='{site.base}/entries/{entry}/delete'><button>Win</button></form>")
    with page.expect_navigation():
        page.click("text=Win")
    expect(page.locator("main")).to_contain_text("sent from another site")
    page.goto(f"{site.base}/entries/{entry}/delete")
    page.evaluate("document.querySelector('main [name=csrf]').value = 'guessed'")
    page.click("text=Delete it")
    expect(page.locator("main")).to_contain_text("not from this session")
    assert entry in site.fakes.entries.rows

"""Real people at a real server: over HTTPS, from the login to the logout, in a real Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.contract.access.world import World, serving, svid
from tests.e2e.pages.browser import AXE
from tests.e2e.pages.conftest import LONG, Visit

pytestmark = pytest.mark.e2e


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path, admin__four_eyes=("authority.revoke",)) as running:
        yield running


async def log_in(page: Page, token: str) -> None:
    await page.fill("[name=token]", token)
    await page.click("main button")


async def another_persons_token(world: World) -> str:
    """Of somebody whom nothing ties to the local socket's user, who has made all other tokens."""
    await world.bind("spiffe://example.org/people/bob", "admin")
    made = await world.client(identity=await svid(world, "/people/bob")).post(
        "/v1/access/tokens", json={"name": "bob", "role": "admin"}
    )
    return str(made.json()["token"])


async def test_from_the_login_to_the_logout(world: World, visit: Visit) -> None:
    page = await visit(world.url, "/entries?owner=team-web")
    await expect(page.locator("h1")).to_have_text("Log in", timeout=LONG)
    assert await page.locator("#nav").count() == 0
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [one["id"] for one in found["violations"] if one["impact"] in {"serious", "critical"}] == []

    await log_in(page, "sds_at_" + "0" * 52)
    await expect(page.locator("[role=alert]")).to_contain_text("did not work", timeout=LONG)

    await log_in(page, await world.token("operator"))
    await expect(page.locator("h1")).to_have_text("Entries", timeout=LONG)
    assert page.url == f"{world.url}/entries?owner=team-web"  # where it was on the way to
    await expect(page.locator("[data-live-text]")).to_have_text("Live", timeout=LONG)

    await page.goto("/entries/new")
    await page.fill("[name=spiffe_id]", "spiffe://example.org/by-hand")
    await page.fill("[name=parent_id]", "spiffe://example.org/sds/agent/one")
    await page.fill("[name=selectors]", "unix:uid:1000")
    await page.click("text=Show what it does")
    await page.click("text=Make it")
    await expect(page.locator(".done")).to_have_text("Created.", timeout=LONG)

    await page.click("text=Log out")
    await expect(page.locator("h1")).to_have_text("Log in", timeout=LONG)
    await page.goto("/entries")
    await expect(page.locator("h1")).to_have_text("Log in", timeout=LONG)


async def test_an_event_is_proved_and_a_chosen_deed_needs_two(world: World, visit: Visit) -> None:
    """What one asks for another one approves; both are in the log, and the log proves it."""
    ada = await visit(world.url, "/authorities")
    await log_in(ada, await world.token("admin", name="ada"))
    await ada.click("text=Prepare the next X.509 authority")
    await expect(ada.locator(".done")).to_contain_text("published", timeout=LONG)
    await ada.click("tr:has-text('prepared') >> a >> nth=0")
    await ada.click("text=Revoke…")
    await ada.click("button.destroy")
    await expect(ada.locator(".done")).to_contain_text("somebody else has to approve", timeout=LONG)

    bob = await visit(world.url, "/access")
    await log_in(bob, await another_persons_token(world))
    await bob.click("button:text-is('Approve')")
    await expect(bob.locator(".done")).to_have_text("Approved and done.", timeout=LONG)
    await bob.goto("/authorities")
    await expect(bob.locator("main")).to_contain_text("revoked", timeout=LONG)

    await bob.goto("/audit?action=authority.prepare")
    await bob.click("tbody a >> nth=0")
    for _ in range(60):  # it comes under a checkpoint within a second, on a machine that has time
        if await bob.locator("text=not proved yet").count() == 0:
            break
        await bob.wait_for_timeout(500)
        await bob.reload()
    await expect(bob.locator("main")).to_contain_text("It holds", timeout=LONG)
    assert await bob.locator("ol.steps .mark.bad").count() == 0

    await bob.goto("/access")
    await bob.fill("#t-name", "ci")
    await bob.select_option("#t-role", "viewer")
    await bob.click("text=Make it")
    await expect(bob.locator("#token")).to_contain_text("sds_at_", timeout=LONG)
    await bob.fill("#b-subject", "group:auditors")
    await bob.select_option("#b-role", "auditor")
    await bob.click("text=Give it")
    await expect(bob.locator(".done")).to_have_text("The role is given.", timeout=LONG)
    await bob.click("tr:has-text('group:auditors') >> text=Take back")
    await expect(bob.locator(".done")).to_have_text("The role is taken back.", timeout=LONG)
    await bob.click("tr:has-text('ci') >> button:text-is('Revoke')")
    await expect(bob.locator(".done")).to_have_text("The token is revoked.", timeout=LONG)

    await bob.goto("/")
    await expect(bob.locator("main")).to_contain_text("Newest checkpoint", timeout=LONG)
    for path in ("/certificates", "/workloads", "/agents", "/secrets", "/grants", "/revoke", "/notices"):
        await bob.goto(path)
        assert await bob.locator("main .problem").count() == 0, path

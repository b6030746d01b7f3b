"""People log in at an OpenID provider, in a real Chromium: there, back, and what becomes of answers that do not fit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.async_api import Page, expect

from sds.demo.ports import free_ports
from tests.contract.access.world import SESSION, World, serving
from tests.e2e.pages.browser import AXE
from tests.e2e.pages.conftest import LONG, Visit
from tests.fakes.oidc_provider import CLIENT, PASSWORD, SECRET, Answer, OidcProvider, oidc_provider

pytestmark = pytest.mark.e2e


@dataclass
class Scene:
    world: World
    provider: OidcProvider

    async def asked(self) -> Answer:
        """What another browser, which begins a login of its own, is sent to the provider with."""
        answer = await self.world.client().get("/login/oidc")
        return {key: values[0] for key, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}

    async def holds(self, cookie: str) -> bool:
        """Whether this cookie is a session."""
        answer = await self.world.client().get("/v1/whoami", headers={"Cookie": f"{SESSION}={cookie}"})
        assert answer.status_code in {200, 401}
        return answer.status_code == 200

    async def refusals(self) -> list[str]:
        return [str(one["reason"]) for one in await self.world.node.events("admin.login", outcome="refused")]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    (port,) = free_ports(1)
    redirect = f"https://localhost:{port}/login/callback"
    secret = tmp_path / "client-secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    async with (
        oidc_provider(redirect, {"alice": ["pki", "staff"], "carol": ["staff"]}) as provider,
        serving(
            tmp_path,
            port,
            admin__oidc__issuer=provider.issuer,
            admin__oidc__client_id=CLIENT,
            admin__oidc__client_secret_file=str(secret),
            admin__oidc__redirect_url=redirect,
        ) as world,
    ):
        await world.bind("group:pki", "auditor")
        yield Scene(world, provider)


async def agree(page: Page, name: str = "alice", deed: str = "Sign in") -> None:
    """On the provider's page, which the login leads to."""
    await page.click("text=Log in with your organisation")
    await expect(page.locator("h1")).to_have_text("Who are you?", timeout=LONG)
    await page.fill("[name=name]", name)
    await page.fill("[name=password]", PASSWORD)
    await page.click(f"text={deed}")


async def session_of(page: Page) -> str:
    found = [each["value"] for each in await page.context.cookies() if each["name"] == SESSION]
    return found[0] if found else ""


async def test_from_the_providers_page_to_the_logout(scene: Scene, visit: Visit) -> None:
    """As the bound role, in a session that nobody has put upon the browser, and until the logout."""
    world = scene.world
    planted = (await world.session(await world.token("viewer"))).cookies[SESSION]
    page = await visit(world.url, "/login")
    where = {"name": SESSION, "value": planted, "url": world.url, "secure": True, "httpOnly": True}
    await page.context.add_cookies([where])  # type: ignore[list-item]  # a TypedDict
    await page.reload()
    assert await scene.holds(planted)

    await agree(page)
    await expect(page.locator("h1")).to_have_text("Overview", timeout=LONG)
    assert page.url == f"{world.url}/"
    await expect(page.locator(".me")).to_have_text("alice@example.org auditor", timeout=LONG)
    assert "Audit" in await page.locator("#nav a").all_inner_texts()
    given = await session_of(page)
    assert given not in {"", planted}
    assert await scene.holds(given)
    assert not await scene.holds(planted)  # it ended when another one took its place
    await page.goto("/entries")
    assert await page.locator("text=New entry").count() == 0  # an auditor makes none

    await page.click("text=Log out")
    await expect(page.locator("h1")).to_have_text("Log in", timeout=LONG)
    assert await session_of(page) == ""
    assert not await scene.holds(given)
    await page.goto("/entries?owner=team-web")
    await agree(page)  # from a page that wanted a login
    await expect(page.locator("h1")).to_have_text("Entries", timeout=LONG)
    assert page.url == f"{world.url}/entries?owner=team-web"
    assert await session_of(page) not in {"", given}
    assert await scene.refusals() == []


async def test_who_has_no_role_is_told_so_kindly(scene: Scene, visit: Visit) -> None:
    page = await visit(scene.world.url, "/")
    await agree(page, "carol")
    await expect(page.locator("[role=alert]")).to_contain_text("you have no role here yet", timeout=LONG)
    assert await session_of(page) == ""
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [one["id"] for one in found["violations"] if one["impact"] in {"serious", "critical"}] == []
    assert await scene.refusals() == ["has no role"]
    bound = await scene.world.bind("group:staff", "viewer")
    await agree(page, "carol")  # it needs nothing more than what the page said
    await expect(page.locator(".me")).to_have_text("carol@example.org viewer", timeout=LONG)

    await scene.world.node.api("DELETE", f"/v1/access/bindings/{bound}")
    await page.reload()  # with a session that is worth nothing any more, and still no dead end
    await expect(page.locator("[role=alert]")).to_contain_text("you have no role here", timeout=LONG)
    await page.click("text=Log in as somebody else")
    await agree(page)
    await expect(page.locator(".me")).to_have_text("alice@example.org auditor", timeout=LONG)


async def test_an_answer_that_does_not_fit_is_no_login(scene: Scene, visit: Visit) -> None:
    """Each comes back in the browser that began, from the provider's own page: state, PKCE, nonce, issuer, a refusal."""
    provider = scene.provider
    others = await scene.asked()
    page = await visit(scene.world.url, "/")

    async def refused(deed: str = "Sign in") -> None:
        await agree(page, deed=deed)
        await expect(page.locator("[role=alert]")).to_contain_text("did not work", timeout=LONG)
        assert await session_of(page) == ""
        provider.answers, provider.claims = lambda answer: answer, lambda claims: claims

    provider.answers = lambda answer: {**answer, "state": others["state"]}
    await refused()
    provider.answers = lambda answer: {**answer, "code": provider.give(others, "alice")}  # injected: another verifier
    await refused()
    assert provider.refused == ["verifier"]
    provider.claims = lambda claims: {**claims, "nonce": others["nonce"]}
    await refused()
    provider.answers = lambda answer: {**answer, "iss": "https://evil.example"}
    await refused()
    await refused("Cancel")

    theirs = {"code": provider.give(others, "alice"), "state": others["state"], "iss": provider.issuer}
    await page.goto(f"/login/callback?{urlencode(theirs)}")  # login CSRF: a link that logs one in as somebody else
    await expect(page.locator("[role=alert]")).to_contain_text("did not work", timeout=LONG)
    assert await session_of(page) == ""
    assert await scene.refusals() == [
        "the answer does not belong to a login of this browser",
        "the provider answered 400",
        "the token is not of this login",
        "the answer is of another provider",
        "the provider has refused the login",
        "the answer does not belong to a login of this browser",
    ]
    await agree(page)
    await expect(page.locator(".me")).to_have_text("alice@example.org auditor", timeout=LONG)

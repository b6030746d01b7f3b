"""Every page for every role, and what forms do: whatever a page shows or does is what /v1 lets this caller."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from ssl import DER_cert_to_PEM_cert

import httpx
import pytest

from attestation.spiffe_id import SpiffeId
from sds.admin.access.roles import Right, Role, Scope
from sds.admin.app import create_api
from sds.admin.pages.security import POLICY
from sds.admin.services import AdminCall
from sds.admin.services.statistics import Statistics
from tests.fakes.admin_server import AUTHORITY
from tests.fakes.admin_services import FakeServices
from tests.fakes.clock import FakeClock
from tests.fakes.pages import AGENT, SERIALS, Somebody, Texts, every_page, furnish
from tests.unit.admin.pages.conftest import Site

AUTHORITY_PEM = DER_cert_to_PEM_cert(AUTHORITY)
NAMES = (
    "overview", "certificates", "certificate", "workloads", "agents", "agent", "agent-ban", "entries", "entry",
    "entry-new", "entry-edit", "entry-delete", "explain", "secrets", "secret", "secret-delete", "grants", "matrix",
    "authorities", "authority", "authority-activate", "authority-revoke", "revoke", "blocks", "block", "audit", "event",
    "access", "notices", "login", "login-no-role", "nothing",
)  # fmt: skip
# What a role may not see is a page that says so.
REFUSED = {
    Role.VIEWER: {"secret-delete", "explain", "revoke", "audit", "event"},
    Role.AUDITOR: {"secret-delete", "revoke"},
    Role.OPERATOR: {"audit", "event"},
    Role.ADMIN: set[str](),
}


async def test_the_list_is_whole(site: Site) -> None:
    assert tuple(every_page(site.fakes)) == NAMES


@pytest.mark.parametrize("role", list(Role))
async def test_every_page_renders_for_every_role(site: Site, role: Role) -> None:
    site.door.rights = (Right(role),)
    for name, path in every_page(site.fakes).items():
        answer = await site.http.get(path)
        expected = 404 if name == "nothing" else 403 if name in REFUSED[role] else 200
        assert answer.status_code == expected, (name, answer.text[-600:])
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.text.count("<h1") == 1
        assert "<main" in answer.text
        assert 'lang="en"' in answer.text


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_is_offered_what_it_may(site: Site, role: Role) -> None:
    site.door.rights = (Right(role),)
    offered = {
        "New entry": (await site.http.get("/entries")).text,
        "Prepare the next": (await site.http.get("/authorities")).text,
        'href="/audit"': (await site.http.get("/")).text,
    }
    found = {name for name, text in offered.items() if name in text}
    assert (
        found
        == {
            Role.VIEWER: set(),
            Role.AUDITOR: {'href="/audit"'},
            Role.OPERATOR: {"New entry"},
            Role.ADMIN: set(offered),
        }[role]
    )


async def test_who_is_limited_to_a_part_sees_that_part(site: Site) -> None:
    site.door.rights = (Right(Role.VIEWER, Scope(SpiffeId.parse("spiffe://example.org/payments"))),)
    text = (await site.http.get("/certificates")).text
    assert f"/certificates/{SERIALS[0]}" in text
    assert f"/certificates/{SERIALS[2]}" not in text
    assert (await site.http.get(f"/certificates/{SERIALS[2]}")).status_code == 404


async def test_what_is_not_there_leads_to_its_list(site: Site) -> None:
    answer = await site.http.get("/entries/there-is-none")
    assert "deleted meanwhile" in answer.text
    assert '<a href="/entries">Entries</a> · <a href="/">Overview</a>' in answer.text


async def test_a_confirmation_says_what_follows(site: Site) -> None:
    pages = every_page(site.fakes)
    assert "attestation of its ID. What it was issued" in (await site.http.get(pages["agent-ban"])).text
    activate = await site.http.get(pages["authority-activate"])
    assert f'<a href="{pages["authority"]}">who that is</a>' in activate.text  # the gate is closed


async def test_nobody_sees_anything_but_the_login(site: Site) -> None:
    site.door.rights = ()
    for name, path in every_page(site.fakes).items():
        answer = await site.http.get(path)
        assert (answer.status_code == 200) is (name in {"login", "login-no-role"}), name
    assert "example.org" not in (await site.http.get("/login")).text


async def test_a_browser_is_told_as_a_page_and_a_program_as_a_document(site: Site) -> None:
    """Of what no page stands for: an unknown path, a method that it does not take, somebody without a role."""
    for path, status in (("/nowhere", 404), ("/entries", 405), ("/entries/x/y/z", 404)):
        method = "PUT" if status == 405 else "GET"
        page = await site.http.request(method, path, headers={"Accept": "text/html,*/*"})
        assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert page.headers["content-security-policy"] == POLICY
        plain = await site.http.request(method, path)
        assert (plain.status_code, plain.headers["content-type"]) == (status, "application/problem+json")
        assert page.headers.get("allow") == plain.headers.get("allow")
    api = await site.http.get("/v1/nowhere", headers={"Accept": "text/html"})
    assert api.headers["content-type"] == "application/problem+json"
    site.door.rights = ()
    refused = await site.http.get("/entries", headers={"Accept": "text/html"})
    assert refused.status_code == 401
    assert 'href="/login"' in refused.text
    assert "<nav" not in refused.text


async def test_a_pasted_certificate_is_looked_for(site: Site) -> None:
    nothing = await site.form("/certificates", {"pem": "no certificate at all"})
    assert nothing.status_code == 422
    assert "no certificate at all" in nothing.text  # in its field, to be mended
    other = AUTHORITY_PEM
    found = await site.form("/certificates", {"pem": other})
    assert found.status_code == 200
    assert "Not issued here" in found.text


async def test_a_filter_that_cannot_be_read_is_said_and_kept(site: Site) -> None:
    answer = await site.http.get("/entries", params={"spiffe_id": "nonsense"})
    assert answer.status_code == 422
    assert 'value="nonsense"' in answer.text
    assert "<h1>Entries</h1>" in answer.text


async def test_nothing_is_inline(site: Site) -> None:
    """What the policy would refuse is not even tried."""
    for name, path in every_page(site.fakes).items():
        text = (await site.http.get(path)).text
        assert not re.search(r"<style|\sstyle=|<script>|javascript:|\son[a-z]+=", text), name
        for source in re.findall(r'(?:src|href|action)="([^"]*)"', text):
            assert source.startswith(("/", "#")), (name, source)
            assert not source.startswith("//")


async def test_assets_are_kept_for_good_under_their_hash(site: Site) -> None:
    text = (await site.http.get("/")).text
    found = re.findall(r'"(/assets/[^"]+)"', text)
    assert len(found) == 4
    site.door.rights = ()  # the login page needs them as well
    for path in found:
        answer = await site.http.get(path)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    wrong = await site.http.get(re.sub(r"\.[0-9a-f]{16}\.", ".0000000000000000.", found[0]))
    assert wrong.status_code == 404
    assert "immutable" not in wrong.headers["cache-control"]


async def test_an_entry_is_changed_in_two_steps(site: Site) -> None:
    entry = next(iter(site.fakes.entries.rows.values()))
    fields = {
        "spiffe_id": str(entry.spiffe_id),
        "parent_id": str(entry.parent_id),
        "selectors": "unix:uid:77",
        "owner": "team-new",
        "revision": "1",
        "x509_ttl": "30m",
    }
    path = f"/entries/{entry.id}/edit"
    preview = await site.form(path, fields)
    assert preview.status_code == 200
    assert "team-new" in preview.text
    assert "Who matches changes" in preview.text
    assert "stream-" not in preview.headers
    assert site.fakes.entries.rows[entry.id] == entry  # so far nothing is done
    done = await site.form(path, {**fields, "confirmed": "yes"})
    assert (done.status_code, done.headers["location"]) == (303, f"/entries/{entry.id}?done=saved")
    assert site.fakes.entries.rows[entry.id].spec.owner == "team-new"
    assert "Saved." in (await site.http.get(done.headers["location"])).text


async def test_who_comes_late_overwrites_nothing(site: Site) -> None:
    entry = next(iter(site.fakes.entries.rows.values()))
    fields = {"spiffe_id": str(entry.spiffe_id), "parent_id": str(entry.parent_id), "selectors": "unix:uid:1"}
    late = await site.form(f"/entries/{entry.id}/edit", {**fields, "revision": "7", "confirmed": "yes"})
    assert late.status_code == 412
    assert "Somebody else has changed it" in late.text
    assert site.fakes.entries.rows[entry.id] == entry


async def test_a_form_with_mistakes_is_shown_again_with_all_of_them(site: Site) -> None:
    wrong = {"spiffe_id": "http://x", "parent_id": str(AGENT), "selectors": "nonsense", "owner": "me"}
    answer = await site.form("/entries/new", wrong)
    assert answer.status_code == 422
    assert "<code>spiffe_id</code>" in answer.text
    assert "<code>selectors[0]</code>" in answer.text
    assert 'value="me"' in answer.text


async def test_a_revocation_shows_what_it_hits_first(site: Site) -> None:
    before = set(site.fakes.revocations.revoked)
    shown = await site.http.get("/revoke", params={"kind": "serial", "value": SERIALS[0], "reason": "key-compromise"})
    assert "What it hits" in shown.text
    assert set(site.fakes.revocations.revoked) == before
    done = await site.form("/revoke", {"kind": "serial", "value": SERIALS[0], "reason": "key-compromise"})
    assert done.status_code == 303
    assert set(site.fakes.revocations.revoked) == before | {SERIALS[0]}
    assert "in force" in (await site.http.get(done.headers["location"])).text


async def test_an_authority_is_activated_only_with_force_while_its_gate_is_closed(site: Site) -> None:
    prepared = next(key for key, one in site.fakes.authorities.slots.items() if one.state == "prepared")
    path = f"/authorities/{prepared}/activate"
    closed = await site.form(path)
    assert closed.status_code == 409
    assert "403" not in closed.text
    assert (await site.form(path, {"force": "true"})).headers["location"] == "/authorities?done=activated"
    assert site.fakes.authorities.active().id == prepared
    assert (await site.form(f"/authorities/{prepared}/annihilate")).status_code == 404


async def test_a_secret_is_granted_and_taken_back(site: Site) -> None:
    fields = {"secret": "web/token", "to": "spiffe_id", "subject": "spiffe://example.org/batch/report"}
    assert (await site.form("/grants", fields)).headers["location"] == "/grants?done=granted"
    made = list(site.fakes.secrets.grants)[-1]
    assert (
        (await site.form(f"/grants/{made}/delete", {"secret": "web/token"}))
        .headers["location"]
        .startswith("/secrets/web%2Ftoken")
    )
    assert made not in site.fakes.secrets.grants
    wrong = await site.form("/grants", {**fields, "subject": "no-id"})
    assert (wrong.status_code, "no-id" in wrong.text) == (422, True)  # what was typed stays in its field


async def test_no_page_has_a_secrets_value(site: Site) -> None:
    for path in every_page(site.fakes).values():
        assert "never-on-a-page" not in (await site.http.get(path)).text


async def test_an_agent_is_banned_for_a_reason(site: Site) -> None:
    path = every_page(site.fakes)["agent"]
    done = await site.form(f"{path}/ban", {"reason": "it was stolen"})
    assert done.status_code == 303
    assert site.fakes.agents.rows[AGENT].banned_reason == "it was stolen"
    assert "it was stolen" in (await site.http.get(path)).text


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR])
async def test_who_may_not_change_things_does_not_by_a_form_either(site: Site, role: Role) -> None:
    site.door.rights = (Right(role),)
    entry = next(iter(site.fakes.entries.rows))
    before = len(site.fakes.audit.rows)
    answer = await site.form(f"/entries/{entry}/delete", {"revision": "1"})
    assert answer.status_code == 403
    assert entry in site.fakes.entries.rows
    refused = [row.event for row in site.fakes.audit.rows[before:]]
    assert [(each.action, each.outcome.value) for each in refused] == [("entry.delete", "refused")]


async def test_a_broken_service_is_a_page_without_detail(site: Site) -> None:
    site.fakes.entries.fail = RuntimeError("the password is hunter2")
    answer = await site.http.get(f"/entries/{next(iter(site.fakes.entries.rows))}")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert answer.headers["x-request-id"] in answer.text


CANARY = "<img/src=x/onerror=alert(1)>'\"&{{7*7}}"
"""Ends an attribute, begins an element, and would be worked out by a template that is made of it."""


async def test_no_free_text_becomes_markup() -> None:
    clock = FakeClock()
    fakes = FakeServices(clock.now)
    await furnish(fakes, clock, Texts(CANARY))
    door = Somebody(csrf=CANARY)
    door.name = CANARY
    app = create_api(fakes.services, clock=clock).behind(door)
    shown = 0
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sds.test") as http:
        for name, path in every_page(fakes).items():
            for asked in (path, path + ("&" if "?" in path else "?") + "owner=" + CANARY.replace("&", "%26")):
                text = (await http.get(asked)).text
                assert "<img" not in text, (name, asked)
                assert "onerror=alert(1)>'" not in text, name
                assert ">49<" not in text
                assert '"&{{' not in text
                shown += text.count("&lt;img/src=x/onerror=alert(1)&gt;&#39;&#34;&amp;{{7*7}}")
    assert shown > 100


async def test_an_event_that_was_altered_is_shown_as_that(site: Site) -> None:
    site.fakes.audit.altered.add(2)
    page = (await site.http.get("/audit")).text
    assert page.count("unreadable") == 1
    assert 'href="/audit/2"' in page
    assert "1970" not in page
    one = await site.http.get("/audit/2")
    assert (one.status_code, one.text.count("<h1")) == (200, 1)
    assert "unreadable" in one.text
    assert "1970" not in one.text


async def test_numbers_of_a_moment_after_the_page_began_are_of_now(site: Site) -> None:
    statistics = site.fakes.services.statistics

    class Late:
        async def overview(self, call: AdminCall) -> Statistics:
            found = await statistics.overview(call)
            return replace(found, at=found.at + timedelta(seconds=1))

    app = create_api(replace(site.fakes.services, statistics=Late()), clock=site.clock).behind(site.door)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sds.test") as http:
        page = (await http.get("/")).text
    assert re.search(r"As of <time [^>]*>now</time>\.", page)

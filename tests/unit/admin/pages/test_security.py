"""From where a form may come, and what it may be."""

from __future__ import annotations

import httpx
import pytest

from tests.unit.admin.pages.conftest import Site


async def _delete(site: Site, content: bytes | None = None, **headers: str) -> httpx.Response:
    entry = next(iter(site.fakes.entries.rows))
    given = {
        "Content-Type": "application/x-www-form-urlencoded",
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    body = f"csrf={site.door.csrf}&revision=1".encode() if content is None else content
    return await site.http.post(f"/entries/{entry}/delete", content=body, headers=given)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://sds.test.evil.test"},
        {"Origin": "http://sds.test", "Sec_Fetch_Site": "cross-site"},
    ],
)
async def test_a_form_of_another_site_is_refused_and_told(site: Site, headers: dict[str, str]) -> None:
    before = dict(site.fakes.entries.rows)
    answer = await _delete(site, **headers)
    assert answer.status_code == 403
    assert "from another site" in answer.text
    assert site.fakes.entries.rows == before
    assert site.fakes.audit.rows[-1].event.action == "page.act"


@pytest.mark.parametrize("headers", [{}, {"Sec_Fetch_Site": "same-origin", "Origin": "http://sds.test"}])
async def test_one_of_ours_is_not(site: Site, headers: dict[str, str]) -> None:
    assert (await _delete(site, **headers)).status_code == 303


@pytest.mark.parametrize("content", [b"", b"revision=1", b"csrf=&revision=1", b"csrf=another&revision=1"])
async def test_a_session_has_a_secret(site: Site, content: bytes) -> None:
    site.door.csrf = "the-secret"
    answer = await _delete(site, content, Sec_Fetch_Site="same-origin")
    assert answer.status_code == 403
    assert (await _delete(site, Sec_Fetch_Site="same-origin")).status_code == 303


async def test_what_is_no_form_is_refused(site: Site) -> None:
    assert (await _delete(site, b"{}", Content_Type="application/json")).status_code == 415
    assert (await _delete(site, b"\xff=1")).status_code == 400
    assert (await _delete(site, b"a=1&" * 600)).status_code == 400
    assert (await _delete(site, b"a=" + b"x" * 300_000)).status_code == 413

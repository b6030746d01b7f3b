"""/v1/entries over a real Unix socket."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.fakes.admin_server import Running
from tests.fakes.clock import EPOCH

ENTRY: dict[str, Any] = {
    "spiffe_id": "spiffe://example.org/web",
    "parent_id": "spiffe://example.org/sds/agent/one",
    "selectors": ["unix:uid:1000", "unix:gid:1000"],
}


async def made(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await http.post("/v1/entries", json={**ENTRY, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_create_answers_with_the_entry(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/v1/entries",
        json={
            **ENTRY,
            "x509_ttl": "1h",
            "dns_names": ["Web.example.org"],
            "labels": {"team": "a"},
            "owner": "me",
            "expires_at": "2030-01-31T12:00:00+02:00",
            "jwt_ttl": "5m",
            "federates_with": ["partner.example", "spiffe://a.example"],
            "profile": "gateway",
            "extra_sans": ["ip:10.1.2.3", "email:Ops@Example.org"],
            "subject": "cn = web.example.org",
        },
    )
    entry = answer.json()
    assert answer.status_code == 201
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["location"] == f"/v1/entries/{entry['id']}"
    assert entry == {
        "id": entry["id"],
        "revision": 1,
        "spiffe_id": ENTRY["spiffe_id"],
        "parent_id": ENTRY["parent_id"],
        "selectors": ["unix:gid:1000", "unix:uid:1000"],
        "x509_ttl": 3600,
        "dns_names": ["web.example.org"],
        "hint": "",
        "owner": "me",
        "labels": {"team": "a"},
        "expires_at": "2030-01-31T10:00:00Z",
        "jwt_ttl": 300,
        "federates_with": ["a.example", "partner.example"],
        "profile": "gateway",
        "extra_sans": ["ip:10.1.2.3", "email:Ops@example.org"],
        "subject": "CN=web.example.org",
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    }


async def test_create_is_idempotent(http: httpx.AsyncClient, running: Running) -> None:
    first = await made(http, x509_ttl=3600)
    again = await http.post("/v1/entries", json={**ENTRY, "x509_ttl": "60m"})
    assert (again.status_code, again.json()) == (200, first)
    assert len(running.fakes.audit.rows) == 1


async def test_create_of_the_same_key_with_other_values_conflicts(http: httpx.AsyncClient) -> None:
    first = await made(http)
    answer = await http.post("/v1/entries", json={**ENTRY, "hint": "other"})
    problem = answer.json()
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "urn:sds:problem:already-exists"
    assert (problem["entry_id"], problem["revision"]) == (first["id"], 1)


async def test_all_problems_at_once_with_field_names(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/v1/entries",
        json={
            "spiffe_id": "http://CANARY",
            "selectors": ["CANARY", 7, "unix:uid:1"],
            "x509_ttl": "CANARY",
            "dns_names": ["server.sds.internal", "ok.example.org"],
            "hint": 5,
            "labels": {"team": ["CANARY"]},
            "expires_at": "CANARY",
            "x509_tll": 1,
        },
    )
    assert answer.status_code == 422
    assert "CANARY" not in answer.text
    fields = [each["field"] for each in answer.json()["problems"]]
    assert sorted(fields) == [
        "dns_names",
        "expires_at",
        "hint",
        "labels.team",
        "parent_id",
        "selectors[0]",
        "selectors[1]",
        "spiffe_id",
        "x509_tll",
        "x509_ttl",
    ]


async def test_rules_are_told_beside_unreadable_fields_but_not_about_stand_ins(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/entries", json={**ENTRY, "spiffe_id": 1, "selectors": []})
    assert [each["field"] for each in answer.json()["problems"]] == ["spiffe_id", "selectors"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"spiffe_id": "spiffe://example.org/sds/server"}, "spiffe_id"),
        ({"spiffe_id": "spiffe://other.org/web"}, "spiffe_id"),
        ({"parent_id": "spiffe://example.org/sds/server"}, "parent_id"),
        ({"selectors": []}, "selectors"),
        ({"selectors": "unix:uid:0"}, "selectors"),
        ({"dns_names": ["*.SDS.internal."]}, "dns_names"),
        ({"x509_ttl": 0}, "x509_ttl"),
        ({"x509_ttl": -1}, "x509_ttl"),
        ({"x509_ttl": True}, "x509_ttl"),
        ({"x509_ttl": 1e300}, "x509_ttl"),
        ({"x509_ttl": "25h"}, "x509_ttl"),
        ({"jwt_ttl": "1s"}, "jwt_ttl"),
        ({"jwt_ttl": "2h"}, "jwt_ttl"),
        ({"federates_with": ["example.org"]}, "federates_with"),
        ({"federates_with": ["Not A Domain"]}, "federates_with[0]"),
        ({"federates_with": "partner.example"}, "federates_with"),
        ({"profile": "unknown"}, "profile"),
        ({"profile": "agent"}, "profile"),
        ({"profile": "server"}, "profile"),
        ({"profile": 1}, "profile"),
        ({"extra_sans": ["uri:spiffe://example.org/x"]}, "extra_sans"),
        ({"extra_sans": ["email:a@sds.internal"]}, "extra_sans"),
        ({"extra_sans": ["ip:10.0.0.1"]}, "extra_sans"),
        ({"subject": "CN=web"}, "subject"),
        ({"subject": "nonsense"}, "subject"),
        ({"profile": "gateway", "extra_sans": ["ip:192.168.0.1"]}, "extra_sans"),
        ({"profile": "gateway", "extra_sans": ["email:a@example.com"]}, "extra_sans"),
        ({"profile": "gateway", "dns_names": ["example.org"]}, "dns_names"),
        ({"profile": "gateway", "dns_names": ["*.example.org"]}, "dns_names"),
        ({"profile": "gateway", "dns_names": ["a.example.org", "b.example.org", "c.example.org"]}, "dns_names"),
        ({"profile": "gateway", "subject": "OU=x"}, "subject"),
        ({"profile": "gateway", "subject": "CN=" + "x" * 21}, "subject"),
        ({"profile": "gateway", "subject": "CN=evil.example.com"}, "subject"),
        ({"profile": "gateway", "subject": "CN=server.sds.internal"}, "subject"),
        ({"profile": "gateway", "x509_ttl": "3h"}, "x509_ttl"),
        ({"hint": "a\u0000b"}, "hint"),
        ({"owner": "x" * 256}, "owner"),
        ({"owner": None}, "owner"),
        ({"labels": {"": "x"}}, "labels"),
        ({"labels": [["a", "b"]]}, "labels"),
        ({"expires_at": 1893456000}, "expires_at"),
        ({"expires_at": "2030-01-31T12:00:00"}, "expires_at"),
        ({"expires_at": "2030-02-31T12:00:00Z"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+23:59"}, "expires_at"),
        ({"expires_at": "2030-01-31T12:00:00+99:00"}, "expires_at"),
        ({"id": "x"}, "id"),
        ({"revision": 1}, "revision"),
    ],
)
async def test_a_bad_field_is_named(http: httpx.AsyncClient, fields: dict[str, Any], field: str) -> None:
    answer = await http.post("/v1/entries", json={**ENTRY, **fields})
    assert answer.status_code == 422, answer.text
    assert [each["field"] for each in answer.json()["problems"]] == [field]


async def test_show(http: httpx.AsyncClient) -> None:
    entry = await made(http)
    answer = await http.get(f"/v1/entries/{entry['id']}")
    assert (answer.status_code, answer.json(), answer.headers["etag"]) == (200, entry, '"1"')


@pytest.mark.parametrize(
    "entry_id", ["unknown", "%2e%2e", "%2e%2e%2fagents", "", "a/b", "%2F", "x" * 65, "%ff", "%F0%9F%94%91"]
)
async def test_an_id_that_names_nothing_is_not_found(http: httpx.AsyncClient, entry_id: str) -> None:
    for method in ("GET", "DELETE"):
        answer = await http.request(method, f"/v1/entries/{entry_id}")
        assert answer.status_code == 404
        assert answer.json()["type"] == "urn:sds:problem:not-found"


async def test_list_filters_and_pages(http: httpx.AsyncClient) -> None:
    for number in range(5):
        await made(
            http,
            spiffe_id=f"spiffe://example.org/w{number}",
            owner="even" if number % 2 == 0 else "odd",
            labels={"n": str(number), "all": "yes"},
        )
    first = (await http.get("/v1/entries", params={"limit": 2})).json()
    second = (await http.get("/v1/entries", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    third = (await http.get("/v1/entries", params={"limit": 2, "cursor": second["next_cursor"]})).json()
    ids = [each["spiffe_id"][-2:] for page in (first, second, third) for each in page["entries"]]
    assert ids == ["w0", "w1", "w2", "w3", "w4"]
    assert third["next_cursor"] is None

    async def found(**query: Any) -> list[str]:
        return [each["spiffe_id"][-2:] for each in (await http.get("/v1/entries", params=query)).json()["entries"]]

    assert await found(owner="odd") == ["w1", "w3"]
    assert await found(spiffe_id="spiffe://example.org/w4") == ["w4"]
    assert await found(label=["all=yes", "n=2"]) == ["w2"]
    assert await found(selector="unix:uid:1000", parent_id=ENTRY["parent_id"], owner="even") == ["w0", "w2", "w4"]
    assert await found(selector="unix:uid:1") == []


@pytest.mark.parametrize(
    "query",
    [
        {"bogus": "CANARY"},
        {"limit": "CANARY"},
        {"limit": "0"},
        {"limit": "1001"},
        {"cursor": "CANARY"},
        {"spiffe_id": "CANARY"},
        {"selector": "CANARY"},
        {"label": "CANARY"},
        {"label": "=CANARY"},
    ],
)
async def test_a_bad_query_is_refused_without_repeating_it(http: httpx.AsyncClient, query: dict[str, str]) -> None:
    answer = await http.get("/v1/entries", params=query)
    assert answer.status_code == 422
    assert "CANARY" not in answer.text


async def test_update_replaces_and_counts_the_revision(http: httpx.AsyncClient, running: Running) -> None:
    entry = await made(http, owner="me")
    answer = await http.put(f"/v1/entries/{entry['id']}", json={**ENTRY, "hint": "h"}, headers={"If-Match": '"1"'})
    assert answer.status_code == 200
    assert answer.headers["etag"] == '"2"'
    assert {key: answer.json()[key] for key in ("revision", "hint", "owner")} == {
        "revision": 2,
        "hint": "h",
        "owner": "",  # a PUT replaces: what it does not say is unset
    }
    assert [row.event.action for row in running.fakes.audit.rows] == ["entry.create", "entry.update"]


async def test_what_get_gave_can_be_put_back_edited(http: httpx.AsyncClient) -> None:
    entry = await made(http, labels={"a": "b"})
    answer = await http.put(f"/v1/entries/{entry['id']}", json={**entry, "owner": "new"})
    assert answer.status_code == 200
    assert answer.json() == {**entry, "owner": "new", "revision": 2}


@pytest.mark.parametrize(
    ("if_match", "body", "status"),
    [
        ('"1"', {}, 412),
        ('"2"', {}, 200),
        ('"1", "2"', {}, 200),
        ('"1","7"', {}, 412),
        ('W/"2"', {}, 412),  # weak tags never match
        ('"abc"', {}, 412),
        ("*", {}, 200),
        (None, {"revision": 1}, 412),
        (None, {"revision": 2}, 200),
        ('"2"', {"revision": 1}, 400),
        ("2", {}, 400),
        ('"2', {}, 400),
        ('"2" "3"', {}, 400),
        ("", {}, 400),
    ],
)
async def test_preconditions(http: httpx.AsyncClient, if_match: str | None, body: dict[str, Any], status: int) -> None:
    entry = await made(http)
    path = f"/v1/entries/{entry['id']}"
    await http.put(path, json={**ENTRY, "hint": "second"})
    headers = {} if if_match is None else {"If-Match": if_match}
    answer = await http.put(path, json={**ENTRY, "hint": "third", **body}, headers=headers)
    assert answer.status_code == status, answer.text
    if status == 412:
        assert answer.json()["current_revision"] == 2
    stands = (await http.get(path)).json()
    assert stands["hint"] == ("third" if status == 200 else "second")


async def test_update_cannot_change_the_id(http: httpx.AsyncClient) -> None:
    entry = await made(http)
    answer = await http.put(f"/v1/entries/{entry['id']}", json={**entry, "id": "another"})
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["field"] == "id"


async def test_update_into_another_entry_conflicts(http: httpx.AsyncClient) -> None:
    one = await made(http)
    two = await made(http, spiffe_id="spiffe://example.org/two")
    answer = await http.put(f"/v1/entries/{two['id']}", json=ENTRY)
    assert (answer.status_code, answer.json()["entry_id"]) == (409, one["id"])


async def test_delete_tells_when_the_last_certificate_expires(http: httpx.AsyncClient, running: Running) -> None:
    entry = await made(http)
    running.fakes.entries.expires[entry["id"]] = EPOCH + timedelta(hours=1)
    path = f"/v1/entries/{entry['id']}"
    assert (await http.delete(path, headers={"If-Match": '"9"'})).status_code == 412
    answer = await http.delete(path)
    assert answer.json() == {
        "entry": entry,
        "last_certificate_expires_at": "2026-01-01T01:00:00Z",
        "dry_run": False,
        "blast_radius": None,
    }
    assert (await http.delete(path)).status_code == 404


def actions(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["action"] for each in answer.json()["changes"]]


async def test_apply_creates_updates_and_leaves_alone(http: httpx.AsyncClient) -> None:
    same = await made(http, spiffe_id="spiffe://example.org/same")
    await made(http, spiffe_id="spiffe://example.org/changed")
    wanted = [
        {**ENTRY, "spiffe_id": "spiffe://example.org/new"},
        {**ENTRY, "spiffe_id": "spiffe://example.org/changed", "x509_ttl": "30m", "owner": "me"},
        same,
    ]
    dry = await http.post("/v1/entries:apply", json={"entries": wanted, "dry_run": True})
    assert actions(dry) == ["create", "update", "unchanged"]
    assert dry.json()["changes"][0]["entry"] is None
    assert dry.json()["changes"][1]["changes"] == {"x509_ttl": [None, 1800], "owner": ["", "me"]}
    assert len((await http.get("/v1/entries")).json()["entries"]) == 2

    done = await http.post("/v1/entries:apply", json={"entries": wanted})
    assert actions(done) == ["create", "update", "unchanged"]
    assert done.json()["changes"][1]["entry"]["revision"] == 2
    assert actions(await http.post("/v1/entries:apply", json={"entries": wanted})) == ["unchanged"] * 3


async def test_apply_prunes_only_in_scope(http: httpx.AsyncClient) -> None:
    await made(http, spiffe_id="spiffe://example.org/mine", owner="me")
    await made(http, spiffe_id="spiffe://example.org/gone", owner="me")
    await made(http, spiffe_id="spiffe://example.org/theirs", owner="them")
    wanted = {"entries": [{**ENTRY, "spiffe_id": "spiffe://example.org/mine", "owner": "me"}]}
    assert actions(await http.post("/v1/entries:apply", json={**wanted, "prune": {"owner": "me"}})) == [
        "unchanged",
        "delete",
    ]
    left = [each["spiffe_id"] for each in (await http.get("/v1/entries")).json()["entries"]]
    assert left == ["spiffe://example.org/mine", "spiffe://example.org/theirs"]
    assert actions(await http.post("/v1/entries:apply", json={"entries": [], "prune": {"all": True}})) == ["delete"] * 2


@pytest.mark.parametrize("prune", [{}, {"all": False}, {"all": True, "owner": "me"}, {"everything": True}, [], "all"])
async def test_prune_without_a_clear_scope_is_refused(http: httpx.AsyncClient, prune: Any) -> None:
    await made(http)
    answer = await http.post("/v1/entries:apply", json={"entries": [], "prune": prune})
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["field"].startswith("prune")
    assert len((await http.get("/v1/entries")).json()["entries"]) == 1


async def test_apply_tells_the_problems_of_all_entries_and_changes_nothing(http: httpx.AsyncClient) -> None:
    entries = [ENTRY, {**ENTRY, "spiffe_id": 1, "hint": "\u0007"}, "CANARY", {**ENTRY, "bogus": 1}]
    answer = await http.post("/v1/entries:apply", json={"entries": entries})
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["problems"]] == [
        "entries[1].spiffe_id",
        "entries[1].hint",
        "entries[2]",
        "entries[3].bogus",
    ]
    assert "CANARY" not in answer.text
    assert (await http.get("/v1/entries")).json()["entries"] == []


async def test_apply_compares_revisions_only_where_something_changes(http: httpx.AsyncClient) -> None:
    entry = await made(http)
    await http.put(f"/v1/entries/{entry['id']}", json={**ENTRY, "hint": "new"})
    stale = {**entry, "hint": "mine"}
    assert (await http.post("/v1/entries:apply", json={"entries": [stale]})).status_code == 412
    assert actions(await http.post("/v1/entries:apply", json={"entries": [{**entry, "hint": "new"}]})) == ["unchanged"]

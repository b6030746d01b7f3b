"""Idempotency-Key and conditional requests over HTTP."""

from __future__ import annotations

import httpx
import pytest

from sds.admin.access.rules import RULES, VIEWERS
from sds.admin.once import READING, SECRET_ANSWERS
from tests.contract.store.samples import AGENT, spiffe
from tests.fakes.admin_server import Running
from tests.unit.admin.test_bulk import attest
from tests.unit.admin.test_rules import ROUTES

ENTRY = {"spiffe_id": str(spiffe("/web")), "parent_id": str(AGENT), "selectors": ["unix:uid:1"]}
KEY = {"Idempotency-Key": "key-1"}


async def test_a_retry_is_answered_as_the_first_was(http: httpx.AsyncClient, running: Running) -> None:
    first = await http.post("/v1/entries", json=ENTRY, headers=KEY)
    running.fakes.entries.rows.clear()
    again = await http.post("/v1/entries", json=ENTRY, headers=KEY)
    assert (again.status_code, again.content) == (201, first.content)
    for name in ("etag", "location", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert (again.headers["idempotency-replayed"], first.headers.get("idempotency-replayed")) == ("true", None)
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert running.fakes.entries.rows == {}
    assert [row.event.action for row in running.fakes.audit.rows] == ["entry.create"]


async def test_another_request_under_the_same_key(http: httpx.AsyncClient) -> None:
    await http.post("/v1/entries", json=ENTRY, headers=KEY)
    for path, body in (
        ("/v1/entries", {**ENTRY, "owner": "x"}),
        ("/v1/entries?a=b", ENTRY),
        ("/v1/entries:apply", {"entries": [ENTRY]}),
    ):
        answer = await http.post(path, json=body, headers=KEY)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:sds:problem:idempotency-key-reused")


async def test_what_was_refused_may_be_tried_again(http: httpx.AsyncClient, running: Running) -> None:
    assert (await http.post("/v1/entries", json={**ENTRY, "selectors": []}, headers=KEY)).status_code == 422
    running.fakes.entries.fail = RuntimeError("boom")
    assert (await http.post("/v1/entries", json=ENTRY, headers=KEY)).status_code == 500
    running.fakes.entries.fail = None
    assert (await http.post("/v1/entries", json=ENTRY, headers=KEY)).status_code == 201
    assert len(running.fakes.idempotency.rows) == 1


async def test_an_answer_with_a_secret_is_not_kept(http: httpx.AsyncClient, running: Running) -> None:
    first = await http.post("/v1/tokens", json={}, headers=KEY)
    assert first.json()["token"] == "the-secret-token-1"
    ((_, kept),) = running.fakes.idempotency.rows.values()
    assert kept is not None
    assert (kept.status, kept.body) == (first.status_code, None)
    again = await http.post("/v1/tokens", json={}, headers=KEY)
    assert (again.status_code, again.json()["type"]) == (409, "urn:sds:problem:idempotency-spent")
    assert len(running.fakes.tokens.downstream) == 1


def test_operations_with_secrets_exist() -> None:
    assert SECRET_ANSWERS - {"access.token.create", "access.token.bootstrap"} <= ROUTES.keys()


async def test_what_only_reads_is_not_kept(http: httpx.AsyncClient, running: Running) -> None:
    """Else whoever may look could fill the database with answers."""
    for path, body in (("/v1/explain", {"selectors": ["unix:uid:1"]}), ("/v1/jwt:verify", {"token": "a.b.c"})):
        for _ in range(2):
            answer = await http.post(path, json=body, headers=KEY)
            assert "idempotency-replayed" not in answer.headers
            assert "idempotency" not in answer.text
    assert running.fakes.idempotency.rows == {}


def test_what_viewers_may_send_only_reads() -> None:
    sent = {name for name, route in ROUTES.items() if "POST" in route.methods and RULES[name].roles == VIEWERS}
    assert {"certificate.find", "token.verify"} <= sent <= READING | {"page.act"}


async def test_pages_have_no_keys(http: httpx.AsyncClient, running: Running) -> None:
    form = {"spiffe_id": ENTRY["spiffe_id"], "parent_id": ENTRY["parent_id"], "selectors": "unix:uid:1"}
    answer = await http.post("/entries/new", data=form, headers=KEY)
    assert answer.status_code in {200, 303, 422}, answer.text
    assert running.fakes.idempotency.rows == {}


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é"])
async def test_keys_that_are_none(http: httpx.AsyncClient, key: str) -> None:
    answer = await http.post("/v1/entries", json=ENTRY, headers={"Idempotency-Key": key.encode("latin-1")})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:sds:problem:bad-precondition")


async def test_two_keys_in_one_request(http: httpx.AsyncClient) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert (await http.post("/v1/entries", json=ENTRY, headers=headers)).status_code == 400


async def test_what_is_known_is_not_sent_again(http: httpx.AsyncClient, running: Running) -> None:
    made = (await http.post("/v1/entries", json=ENTRY)).json()
    attest(running, AGENT)
    for path in (f"/v1/entries/{made['id']}", "/v1/entries", f"/v1/agents/{AGENT}", "/v1/statistics"):
        first = await http.get(path)
        tag = first.headers["etag"]
        for known in (tag, f'"x", {tag}', "*", tag.removeprefix("W/")):
            again = await http.get(path, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), path
        assert (await http.get(path, headers={"If-None-Match": '"other"'})).content == first.content
    weak = (await http.get("/v1/entries")).headers["etag"]
    await http.delete(f"/v1/entries/{made['id']}")
    assert (await http.get("/v1/entries", headers={"If-None-Match": weak})).status_code == 200

"""/v1/authorities over the fake services."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from ca.authority import AuthorityKind, AuthorityState
from ca.gate import Lag
from tests.fakes.admin_authorities import FakeAuthorities
from tests.fakes.admin_server import Running
from tests.fakes.clock import EPOCH
from tests.fakes.slots import holder

PATH = "/v1/authorities"


@pytest.fixture
def fake(running: Running) -> FakeAuthorities:
    return running.fakes.authorities


async def test_all_are_listed_with_what_is_due_next(http: httpx.AsyncClient, fake: FakeAuthorities) -> None:
    page = (await http.get(PATH)).json()
    assert [(one["kind"], one["state"]) for one in page["authorities"]] == [("x509", "active"), ("jwt", "active")]
    first = page["authorities"][0]
    assert first["id"] == fake.active().id
    assert first["certificate"].startswith("-----BEGIN CERTIFICATE-----")
    assert first["successor_due"]["prepare"] < first["successor_due"]["activate"] <= first["successor_due"]["deadline"]
    assert (first["gate"], first["kept_until"], first["cross_signed"]) == (None, None, False)
    assert page["due"] == []
    assert [one["kind"] for one in (await http.get(PATH, params={"kind": "jwt"})).json()["authorities"]] == ["jwt"]
    assert (await http.get(PATH, params={"kind": "ssh"})).status_code == 422


async def test_what_is_due_and_cannot_be_done_is_shown(http: httpx.AsyncClient, fake: FakeAuthorities) -> None:
    fake.change(fake.active(), revoked=True)
    (due,) = (await http.get(PATH)).json()["due"]
    assert due == {"step": "prepare", "kind": "x509", "authority_id": "", "reason": "the active one is revoked"}


async def test_a_closed_gate_refuses_and_names_who_it_waits_for(
    http: httpx.AsyncClient, running: Running, fake: FakeAuthorities
) -> None:
    stream = holder("a", 1, stream_id="s1", pid=7, path="/bin/envoy", spiffe_ids=("spiffe://example.org/web",))
    late = replace(stream, lag=Lag.NACKED, detail="bad bundle", last_seen=EPOCH)
    fake.holders = (holder("a", 99), late)
    made = (await http.post(f"{PATH}:prepare")).json()
    assert (made["state"], made["kind"]) == ("prepared", "x509")
    answer = await http.post(f"{PATH}/{made['id']}:activate")
    assert answer.status_code == 409
    problem = answer.json()
    assert problem["type"] == "urn:sds:problem:gate-closed"
    gate = problem["gate"]
    assert (gate["open"], gate["acked"], gate["total"], gate["stragglers_total"]) == (False, 1, 2, 1)
    assert gate["stragglers"] == [
        {
            "agent_id": "spiffe://example.org/sds/agent/a",
            "stream_id": "s1",
            "pid": 7,
            "path": "/bin/envoy",
            "spiffe_ids": ["spiffe://example.org/web"],
            "why": "rejected",
            "detail": "bad bundle",
            "sequence": 1,
            "last_seen": "2026-01-01T00:00:00Z",
        }
    ]
    assert (await http.get(f"{PATH}/{made['id']}")).json()["gate"] == gate
    refusal = running.fakes.audit.rows[-1].event
    assert (refusal.action, refusal.outcome.value, refusal.target.id) == ("authority.activate", "refused", made["id"])
    assert fake.active().id != made["id"]


async def test_an_open_gate_or_force_activates(http: httpx.AsyncClient, fake: FakeAuthorities) -> None:
    fake.holders = (holder("a", 1),)
    first = (await http.post(f"{PATH}:prepare", json={"kind": "x509"})).json()
    assert (await http.post(f"{PATH}:prepare", json={})).json()["type"] == "urn:sds:problem:rotation-refused"
    fake.hold(first["published_sequence"])
    active = (await http.post(f"{PATH}/{first['id']}:activate", json={"cross_sign": True})).json()
    assert (active["state"], active["cross_signed"], active["gate"]) == ("active", True, None)
    second = (await http.post(f"{PATH}:prepare")).json()
    forced = await http.post(f"{PATH}/{second['id']}:activate", json={"force": True})
    assert (forced.status_code, forced.json()["state"]) == (200, "active")
    old = (await http.get(f"{PATH}/{first['id']}")).json()
    assert (old["state"], old["kept_until"]) == ("old", "2026-01-01T01:00:00Z")


async def test_jwt_authorities_wait_for_those_who_fetch(http: httpx.AsyncClient, fake: FakeAuthorities) -> None:
    fake.jwt_wait = timedelta(minutes=5)
    made = (await http.post(f"{PATH}:prepare", json={"kind": "jwt"})).json()
    assert (made["kind"], made["certificate"]) == ("jwt", made["certificate"])
    gate = made["gate"]
    assert (gate["open"], gate["total"], gate["waits_until"]) == (False, 0, "2026-01-01T00:04:00Z")


async def test_taint_and_revoke(http: httpx.AsyncClient, fake: FakeAuthorities) -> None:
    one = fake.active()
    assert (await http.post(f"{PATH}/{one.id}:taint")).json()["tainted"] is True
    refused = await http.post(f"{PATH}/{one.id}:revoke")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:sds:problem:rotation-refused")
    assert (await http.post(f"{PATH}/{one.id}:revoke", json={"force": True})).json()["revoked"] is True


@pytest.mark.parametrize("method", ["GET", ":activate", ":taint", ":revoke"])
@pytest.mark.parametrize("name", ["00" * 20, "A1", "%2e%2e", "x" * 200, "spiffe"])
async def test_what_is_no_authority_is_not_found(http: httpx.AsyncClient, method: str, name: str) -> None:
    answer = await (http.get(f"{PATH}/{name}") if method == "GET" else http.post(f"{PATH}/{name}{method}"))
    assert answer.status_code == 404
    assert "x" * 200 not in answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (":prepare", {"kind": "ssh"}),
        (":prepare", {"kind": 1}),
        ("/00:activate", {"force": "yes"}),
        ("/00:activate", {"forced": True}),
        ("/00:revoke", {"force": 1}),
    ],
)
async def test_bodies_are_strict(http: httpx.AsyncClient, fake: FakeAuthorities, path: str, body: object) -> None:
    answer = await http.post(f"{PATH}{path}", json=body)
    assert answer.status_code == 422
    assert [one.state for one in fake.slots.values()] == [AuthorityState.ACTIVE] * len(AuthorityKind)

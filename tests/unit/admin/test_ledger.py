"""/v1/audit's proofs, checkpoints and exports over a log in memory."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from sds.audit.checkpoint import parse_checkpoint
from sds.audit.merkle import leaf_hash, verify_consistency, verify_inclusion
from sds.audit.note import parse_vkey
from sds.audit.verify import ExportVerifier
from tests.fakes.admin_server import Running


async def grown(http: httpx.AsyncClient) -> None:
    for _ in range(5):
        assert (await http.post("/v1/tokens", json={})).status_code == 201


def decoded(steps: list[str]) -> list[bytes]:
    return [base64.b64decode(step, validate=True) for step in steps]


async def test_an_event_and_its_proof(http: httpx.AsyncClient) -> None:
    await grown(http)
    event = (await http.get("/v1/audit/events/2")).json()
    assert (event["sequence"], event["leaf"], event["action"]) == (2, 1, "token.create")
    assert json.loads(event["canonical"])["action"] == "token.create"
    assert base64.b64decode(event["leaf_hash"]) == leaf_hash(event["canonical"].encode())
    proof = (await http.get("/v1/audit/events/2/proof")).json()
    (key,) = (await http.get("/v1/audit/keys")).json()["keys"]
    assert key["current"] is True
    checkpoint = parse_checkpoint(proof["checkpoint"], [parse_vkey(key["verifier"])])
    hashed = leaf_hash(event["canonical"].encode())
    assert verify_inclusion(proof["leaf"], proof["size"], hashed, decoded(proof["path"]), checkpoint.root)


async def test_checkpoints_and_consistency(http: httpx.AsyncClient) -> None:
    await grown(http)
    newest = (await http.get("/v1/audit/checkpoint")).json()
    older = (await http.get("/v1/audit/checkpoint", params={"size": 2})).json()
    assert older["size"] == 2
    asked = {"from": 2, "to": newest["size"]}
    proof = (await http.get("/v1/audit/consistency", params=asked)).json()
    old, new = (base64.b64decode(one["root"]) for one in (older, newest))
    assert verify_consistency(2, newest["size"], old, new, decoded(proof["path"]))
    page = (await http.get("/v1/audit/checkpoints", params={"limit": 2})).json()
    assert [one["size"] for one in page["checkpoints"]] == [newest["size"], newest["size"] - 1]
    assert page["next_before"] == newest["size"] - 1
    rest = (await http.get("/v1/audit/checkpoints", params={"before": 2})).json()
    assert [one["size"] for one in rest["checkpoints"]] == [1]
    assert rest["next_before"] is None


async def test_an_export_verifies(http: httpx.AsyncClient) -> None:
    await grown(http)
    answer = await http.get("/v1/audit:export")
    assert answer.headers["content-type"] == "application/jsonl"
    assert "audit.jsonl" in answer.headers["content-disposition"]
    verifier = ExportVerifier()
    for line in answer.content.splitlines():
        verifier.feed(line)
    assert verifier.verdict().ok


async def test_verify_and_prune(http: httpx.AsyncClient, running: Running) -> None:
    await grown(http)
    found = (await http.post("/v1/audit:verify")).json()
    assert (found["ok"], found["problems"], found["more"]) == (True, [], 0)
    note = (await http.get("/v1/audit/checkpoint")).json()["note"]
    del running.fakes.audit.rows[2:]
    found = (await http.post("/v1/audit:verify", json={"checkpoints": [note]})).json()
    assert found["ok"] is False
    assert {one["kind"] for one in found["problems"]} >= {"cut"}
    before = {"before": "2020-01-01T00:00:00Z"}
    assert (await http.post("/v1/audit:prune", json=before)).json()["dry_run"] is True
    assert (await http.post("/v1/audit:prune", json={**before, "dry_run": False})).json()["events"] == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/audit/events/0", 404),
        ("GET", "/v1/audit/events/99", 404),
        ("GET", "/v1/audit/events/x", 404),
        ("GET", "/v1/audit/events/-1", 404),
        ("GET", "/v1/audit/events/1234567890123456789", 404),
        ("GET", "/v1/audit/events/%D9%A1", 404),
        ("GET", "/v1/audit/events/1?x=1", 422),
        ("GET", "/v1/audit/consistency?from=0&to=1", 422),
        ("GET", "/v1/audit/consistency?from=1", 422),
        ("GET", "/v1/audit/checkpoint?size=99", 404),
        ("GET", "/v1/audit/checkpoint?size=-1", 422),
        ("GET", "/v1/audit:export?format=xml", 422),
        ("GET", "/v1/audit:export?since=yesterday", 422),
        ("GET", "/v1/audit?since=2020-01-01T00:00:00", 422),
        ("POST", "/v1/audit:prune", 415),
    ],
)
async def test_what_is_refused(http: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    await grown(http)
    answer = await http.request(method, path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"before": 7},
        {"before": "soon"},
        {"before": "2020-01-01T00:00:00Z", "dry_run": "no"},
        {"before": "2999-01-01T00:00:00Z"},
    ],
)
async def test_pruning_that_is_refused(http: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert (await http.post("/v1/audit:prune", json=body)).status_code == 422


async def test_filters_of_the_log(http: httpx.AsyncClient) -> None:
    await grown(http)
    everything = (await http.get("/v1/audit")).json()["events"]
    request = everything[2]["request_id"]
    found = (await http.get("/v1/audit", params={"request_id": request})).json()["events"]
    assert [one["sequence"] for one in found] == [everything[2]["sequence"]]
    older = (await http.get("/v1/audit", params={"before": 3, "limit": 1})).json()["events"]
    assert [one["sequence"] for one in older] == [2]
    none = (await http.get("/v1/audit", params={"until": "2000-01-01T00:00:00Z"})).json()["events"]
    assert none == []

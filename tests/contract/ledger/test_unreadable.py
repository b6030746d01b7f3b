"""An event that somebody has altered by hand into what is none: it is shown as that, and all others as ever."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from sds.admin.app import create_api
from sds.audit.judge import ProblemKind
from sds.audit.merkle import leaf_hash
from sds.audit.verify import ExportVerifier
from sds.server.audit.pruner import Pruner
from sds.server.services.audit import AuditService
from sds.server.services.common import Desk
from sds.server.services.ledger import LedgerService
from sds.store.unit_of_work import UnitOfWork
from tests.contract.ledger.conftest import EVENTS, Log
from tests.contract.ledger.test_tampering import named, raw, verdict
from tests.fakes.admin_services import FakeServices
from tests.fakes.pages import Somebody

SEQ, ALL = 4, 7
FIELDS = {"sequence", "id", "time", "action", "outcome", "actor", "target", "reason", "request_id", "node", "details"}


async def _settled(_: float) -> bool:
    return True


@pytest.fixture
async def http(log: Log) -> AsyncIterator[httpx.AsyncClient]:
    """The admin API and its pages over this log."""
    await log.grow(ALL - 2)  # beside those of the log's key
    fakes, desk = FakeServices(log.clock.now), Desk(log.store, EVENTS, _settled)
    ledger = LedgerService(desk, log.keys, Pruner(log.store, log.keys, EVENTS, log.clock), log.clock)
    services = replace(fakes.services, audit=AuditService(desk, log.clock), ledger=ledger)
    app = create_api(services, clock=log.clock).behind(Somebody())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sds.test") as client:
        yield client


async def canonical(log: Log) -> bytes:
    def work(uow: UnitOfWork) -> bytes:
        found = uow.audit.get(SEQ)
        assert found is not None
        return found.canonical

    return await log.store.read(work)


def altered(genuine: bytes) -> dict[str, bytes]:
    """What may stand in an event's place, by a word for it."""
    event = json.loads(genuine)

    def with_(**changes: object) -> bytes:
        return json.dumps({**event, **changes}, ensure_ascii=True).encode()

    return {
        "empty": b"",
        "no JSON": b"so long, and thanks",
        "no text": b"\xff\xfe\x00",
        "a line break": b'{"a":\n1}',
        "an array": b"[]",
        "an empty object": b"{}",
        "a number for an id": with_(id=7),
        "an array for details": with_(details=["x"]),
        "an unknown actor": with_(actor={**event["actor"], "kind": "nobody"}),
        "a time without zone": with_(time="2026-01-01T00:00:00"),
        "another version": with_(version=2),
        "a number that JSON has not": with_(details={"x": float("nan")}),
        "half a surrogate pair": with_(reason="\ud800"),
        "nested without end": with_(details={"x": "HERE"}).replace(b'"HERE"', b"[" * 50_000 + b"]" * 50_000),
    }


def put(database_url: str, content: bytes) -> None:
    written = f"x'{content.hex()}'" if database_url.startswith("sqlite") else f"'\\x{content.hex()}'::bytea"
    raw(database_url)(f"UPDATE audit_events SET canonical = {written} WHERE seq = {SEQ}")


async def _others_are_shown(http: httpx.AsyncClient, why: str) -> None:
    for path in ("/v1/audit", f"/v1/audit?after={SEQ - 1}", "/v1/audit?request_id=r-1"):
        answer = await http.get(path)
        assert answer.status_code == 200, (why, path, answer.text)
        shown = {each["sequence"]: each for each in answer.json()["events"]}
        one = shown.pop(SEQ)
        assert (one["unreadable"], one["action"], one["outcome"]) == (True, "audit.unreadable", "failure"), why
        assert "the" in one["reason"]
        assert set(one) == FIELDS | {"unreadable"}
        assert len(shown) >= 3
        assert all(not each["unreadable"] and each["actor"]["id"] for each in shown.values()), why
    page = await http.get("/audit")
    assert page.status_code == 200, (why, page.text)
    assert page.text.count("unreadable</") == 1, why
    assert page.text.count("test.change") >= 3, why


async def _it_is_shown(http: httpx.AsyncClient, why: str, content: bytes) -> None:
    answer = await http.get(f"/v1/audit/events/{SEQ}")
    assert answer.status_code == 200, (why, answer.text)
    detail = answer.json()
    assert detail["unreadable"] is True
    assert detail["leaf"] == SEQ - 1
    assert detail["leaf_hash"] == base64.b64encode(leaf_hash(content)).decode(), why
    assert detail["canonical"] in {"", content.decode(errors="replace")}, why
    proof = await http.get(f"/v1/audit/events/{SEQ}/proof")
    assert (proof.status_code, proof.json()["leaf"]) == (200, SEQ - 1)
    page = await http.get(f"/audit/{SEQ}")
    assert page.status_code == 200, (why, page.text)
    assert "It does not hold" in page.text


async def _exports_go_on(http: httpx.AsyncClient, why: str) -> None:
    exported = await http.get("/v1/audit:export")
    assert exported.status_code == 200, why
    verifier = ExportVerifier()
    for line in exported.content.splitlines():
        verifier.feed(line)
        json.loads(line)
    assert named(verifier.verdict()) == [(ProblemKind.ALTERED, SEQ - 1, SEQ)], why
    rows = list(csv.DictReader((await http.get("/v1/audit:export?format=csv")).text.splitlines()))
    assert [row["sequence"] for row in rows[:ALL]] == [str(number + 1) for number in range(ALL)], why
    assert [row["sequence"] for row in rows if not row["action"]] == [], why


async def test_whatever_it_was_altered_into_the_others_are_seen(
    http: httpx.AsyncClient, log: Log, database_url: str
) -> None:
    for why, content in altered(await canonical(log)).items():
        put(database_url, content)
        await _others_are_shown(http, why)
        await _it_is_shown(http, why, content)
        await _exports_go_on(http, why)
        found = named(await verdict(log))
        assert (ProblemKind.ALTERED, SEQ - 1, SEQ) in found, why
        assert {number for _, _, number in found} == {SEQ}, why


@pytest.mark.parametrize("value", ["'a text'", "17", "1.5", "CAST(x'ff00' AS TEXT)"])
async def test_what_is_not_even_bytes(http: httpx.AsyncClient, log: Log, database_url: str, value: str) -> None:
    """SQLite lets anything into a column, by hand; PostgreSQL only bytes."""
    if not database_url.startswith("sqlite"):
        value = "'\\x31'::bytea"
    raw(database_url)(f"UPDATE audit_events SET canonical = {value} WHERE seq = {SEQ}")
    await _others_are_shown(http, value)
    await _exports_go_on(http, value)
    assert (await http.get(f"/v1/audit/events/{SEQ}")).json()["unreadable"] is True
    assert (ProblemKind.ALTERED, SEQ - 1, SEQ) in named(await verdict(log))


async def test_what_was_never_altered_is_readable(http: httpx.AsyncClient) -> None:
    shown = (await http.get("/v1/audit")).json()["events"]
    assert len(shown) >= ALL
    assert not any(each["unreadable"] for each in shown)
    assert (await http.get(f"/v1/audit/events/{SEQ}")).json()["unreadable"] is False

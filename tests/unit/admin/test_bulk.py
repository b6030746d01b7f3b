"""Entries in and out as files, other exports, and dry runs."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import httpx
import pytest

from attestation.entry import EntrySpec
from attestation.spiffe_id import SpiffeId
from sds.admin.access.roles import ALL_RIGHTS
from sds.admin.services import AdminCall, AgentInfo, StreamInfo, local_caller
from sds.admin.services.revocations import BlastRadius
from sds.admin.wire import bulk, tables
from tests.contract.store import samples
from tests.contract.store.samples import AGENT, spec, spiffe
from tests.fakes.admin_server import Running
from tests.fakes.clock import EPOCH

CANARY = "canary7f3a"
CALL = AdminCall(local_caller(1000, 42, "alice"), "request-0001", ALL_RIGHTS)
CSV = {"content-type": "text/csv"}
JSONL = {"content-type": "application/jsonl"}


def line(path: str = "/web", **changes: object) -> str:
    base = {"spiffe_id": str(spiffe(path)), "parent_id": str(AGENT), "selectors": ["unix:uid:1"]}
    return json.dumps({**base, **changes})


def attest(running: Running, agent_id: SpiffeId, **changes: object) -> None:
    made = samples.agent(agent_id)
    info = AgentInfo(agent_id, made.attestation_type, made.selectors, made.serial, made.not_after, made.attested_at)
    running.fakes.agents.rows[agent_id] = replace(info, **changes)


async def stand(running: Running, wanted: EntrySpec) -> str:
    return running.do(lambda: running.fakes.entries.create(CALL, wanted)).entry.id


async def test_an_export_is_imported_as_it_was(http: httpx.AsyncClient, running: Running) -> None:
    await stand(running, spec("/a", "unix:path:/opt/a b", "unix:uid:1", owner="-dash", hint="=1+1"))
    labels = MappingProxyType({"team": "a b", "x": "=y"})
    await stand(running, spec("/b", dns_names=("b.example.org",), labels=labels, x509_svid_ttl=timedelta(minutes=7)))
    for form, declared in (("csv", CSV), ("jsonl", JSONL)):
        file = (await http.get("/v1/entries:export", params={"format": form})).content
        again = await http.post("/v1/entries:import", params={"format": form}, content=file, headers=declared)
        assert again.status_code == 200, again.text
        assert [each["action"] for each in again.json()["changes"]] == ["unchanged", "unchanged"]
    before = list(running.fakes.entries.rows.values())
    running.fakes.entries.rows.clear()
    file = file.replace(b'"id":', b'"ID":').replace(b'"revision":', b'"Revision":')
    table = (await http.get("/v1/entries:export", params={"format": "csv"})).content
    assert table.count(b"\r\n") == 1
    rows = [json.loads(each) for each in file.splitlines()]
    plain = "\n".join(json.dumps({k: v for k, v in each.items() if k not in {"ID", "Revision"}}) for each in rows)
    made = await http.post("/v1/entries:import", content=plain, headers=JSONL)
    assert [each["action"] for each in made.json()["changes"]] == ["create", "create"]
    assert [each.spec for each in running.fakes.entries.rows.values()] == [each.spec for each in before]


async def test_a_dry_run_and_then_the_import(http: httpx.AsyncClient, running: Running) -> None:
    file = f"{line('/a')}\n\n{line('/b')}\r\n"
    said = await http.post("/v1/entries:import", params={"dry_run": "true"}, content=file, headers=JSONL)
    assert (said.json()["dry_run"], running.fakes.entries.rows) == (True, {})
    assert [each["action"] for each in said.json()["changes"]] == ["create", "create"]
    await http.post("/v1/entries:import", content=file, headers=JSONL)
    assert len(running.fakes.entries.rows) == 2


async def test_all_problems_are_told_with_their_lines_and_nothing_is_done(
    http: httpx.AsyncClient, running: Running
) -> None:
    file = "\n".join(
        [
            line("/a"),
            "",
            "{" + CANARY,
            line("/b", owner=CANARY + "\n"),
            line("/c", **{CANARY: 1}),
            "[]",
            line("/d", selectors=[]),
        ]
    )
    answer = await http.post("/v1/entries:import", content=file, headers=JSONL)
    assert answer.status_code == 422
    problems = {each["field"]: each["problem"] for each in answer.json()["problems"]}
    assert list(problems) == ["lines[3]", "lines[4].owner", f"lines[5].{CANARY}", "lines[6]", "lines[7].selectors"]
    assert CANARY not in str(list(problems.values()))
    assert running.fakes.entries.rows == {}


async def test_twins_are_told_by_line(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/entries:import", content=f"\n{line()}\n\n{line()}", headers=JSONL)
    (problem,) = answer.json()["problems"]
    assert problem == {"field": "lines[4]", "problem": "stands for the same entry as lines[2]"}


async def test_problems_of_csv(http: httpx.AsyncClient, running: Running) -> None:
    head = "spiffe_id,parent_id,selectors,labels"
    rows = [f"{spiffe('/a')},{AGENT},unix:uid:1,", f'"{spiffe("/b")}",{AGENT},"unix:uid:1\nunix:gid:2",a=b', "x,y"]
    rows.append(f"{spiffe('/c')},{AGENT},{CANARY},{CANARY}")
    answer = await http.post("/v1/entries:import?format=csv", content="\r\n".join([head, *rows]), headers=CSV)
    assert [each["field"] for each in answer.json()["problems"]] == ["lines[5]", "lines[6]"]
    assert CANARY not in answer.text
    good = await http.post("/v1/entries:import?format=csv", content="\n".join([head, *rows[:2]]), headers=CSV)
    assert [each["selectors"] for each in good.json()["changes"]] == [["unix:uid:1"], ["unix:gid:2", "unix:uid:1"]]
    (_, second) = running.fakes.entries.rows.values()
    assert second.spec.labels == {"a": "b"}


@pytest.mark.parametrize(
    ("form", "body", "status"),
    [
        ("csv", "", 400),
        ("csv", f"{CANARY},spiffe_id\n1,2", 422),
        ("csv", "spiffe_id,spiffe_id\n1,2", 422),
        ("csv", f'spiffe_id\n"{CANARY}', 400),
        ("csv", "spiffe_id\n" + "x" * 200_000, 400),
        ("jsonl", b"\xff" + CANARY.encode(), 400),
        ("csv", b"\xff" + CANARY.encode(), 400),
    ],
)
async def test_what_is_no_such_file(http: httpx.AsyncClient, form: str, body: str | bytes, status: int) -> None:
    declared = CSV if form == "csv" else JSONL
    answer = await http.post("/v1/entries:import", params={"format": form}, content=body, headers=declared)
    assert (answer.status_code, CANARY in answer.text) == (status, False), answer.text


async def test_a_file_is_declared_as_what_it_is(http: httpx.AsyncClient) -> None:
    for form, declared in (("csv", JSONL), ("jsonl", CSV), ("jsonl", {})):
        answer = await http.post("/v1/entries:import", params={"format": form}, content=line(), headers=declared)
        assert answer.status_code == 415


def test_more_than_may_be() -> None:
    with pytest.raises(bulk.InvalidInput, match="more than 1 entries"):
        bulk.read_entries(f"{line('/a')}\n{line('/b')}".encode(), "jsonl", lambda _: [], 1)


async def test_exports_of_agents_and_streams(http: httpx.AsyncClient, running: Running) -> None:
    attest(running, AGENT)
    running.fakes.streams.rows = [StreamInfo.of(samples.stream(), EPOCH + timedelta(seconds=9))]
    agents = (await http.get("/v1/agents:export")).text.splitlines()
    assert tuple(json.loads(agents[0])) == tables.AGENT
    assert json.loads(agents[0])["spiffe_id"] == str(AGENT)
    head, *rows = csv.reader(io.StringIO((await http.get("/v1/streams:export?format=csv")).text, newline=""))
    assert tuple(head) == tables.STREAM
    found = [dict(zip(head, row, strict=True)) for row in rows]
    assert [(each["resource"], each["lag_seconds"], each["sent_serial"]) for each in found] == [
        ("default", "9.0", "0b"),
        ("ROOTCA", "0.0", ""),
    ]


RADIUS = BlastRadius(certificates=3, fresh=2, owners=("ann",), last_expiry=EPOCH + timedelta(hours=1))


async def test_dry_run_of_deleting_an_entry(http: httpx.AsyncClient, running: Running) -> None:
    entry_id = await stand(running, spec())
    running.fakes.revocations.radius = RADIUS
    answer = await http.delete(f"/v1/entries/{entry_id}?dry_run=true")
    said = answer.json()
    assert (said["dry_run"], said["blast_radius"]["certificates_total"], said["blast_radius"]["owners"]) == (
        True,
        3,
        ["ann"],
    )
    assert said["last_certificate_expires_at"] == "2026-01-01T01:00:00Z"
    assert entry_id in running.fakes.entries.rows
    stale = await http.delete(f"/v1/entries/{entry_id}?dry_run=true", headers={"if-match": '"9"'})
    assert stale.status_code == 412
    assert (await http.delete("/v1/entries/none?dry_run=true")).status_code == 404
    assert (await http.delete(f"/v1/entries/{entry_id}?dry_run=perhaps")).status_code == 422
    assert (await http.delete(f"/v1/entries/{entry_id}")).json()["blast_radius"] is None
    assert running.fakes.entries.rows == {}


async def test_dry_run_and_precondition_of_agents(http: httpx.AsyncClient, running: Running) -> None:
    attest(running, AGENT)
    running.fakes.revocations.radius = RADIUS
    path = f"/v1/agents/{AGENT}"
    tag = (await http.get(path)).headers["etag"]
    for method, url in (("DELETE", path), ("POST", f"{path}/ban")):
        said = (await http.request(method, f"{url}?dry_run=true")).json()
        assert (said["dry_run"], said["banned"], said["blast_radius"]["certificates_total"]) == (True, False, 3)
        stale = await http.request(method, url, headers={"if-match": '"0"'})
        assert (stale.status_code, stale.json()["current_revision"]) == (412, tag.strip('"'))
    assert (await http.post(f"{path}/ban", headers={"if-match": tag})).json()["banned"] is True
    assert (await http.delete(path, headers={"if-match": tag})).status_code == 412  # banned meanwhile
    assert (await http.delete(path, headers={"if-match": (await http.get(path)).headers["etag"]})).status_code == 200


async def test_agents_are_filtered_and_sorted(http: httpx.AsyncClient, running: Running) -> None:
    for number, path in enumerate(("/sds/agent/a", "/sds/agent/b/c", "/sds/agent/bb")):
        attest(running, spiffe(path), version=f"0.{number}", attested_at=EPOCH - timedelta(hours=number))
    for query, wanted in (
        ("sort=-spiffe_id", ["bb", "c", "a"]),
        ("sort=attested", ["bb", "c", "a"]),
        ("below=spiffe://example.org/sds/agent/b", ["c"]),
        ("version=0.2", ["bb"]),
        ("silent_since=2025-12-31T23:30:00Z", ["c", "bb"]),
        ("banned=true", []),
        ("downstream=false&sort=-attested", ["a", "c", "bb"]),
    ):
        page = (await http.get(f"/v1/agents?{query}")).json()
        assert [each["spiffe_id"].rsplit("/", 1)[1] for each in page["agents"]] == wanted, query


async def test_entries_are_filtered_and_sorted(http: httpx.AsyncClient, running: Running) -> None:
    await stand(running, spec("/b/x"))
    await stand(running, spec("/a", expires_at=EPOCH - timedelta(seconds=1)))
    for query, wanted in (
        ("sort=spiffe_id", ["/a", "/b/x"]),
        ("sort=-created", ["/a", "/b/x"]),
        ("below=spiffe://example.org/b", ["/b/x"]),
        ("expired=true", ["/a"]),
        ("expired=false", ["/b/x"]),
    ):
        page = (await http.get(f"/v1/entries?{query}")).json()
        assert [each["spiffe_id"].removeprefix("spiffe://example.org") for each in page["entries"]] == wanted, query
    assert (await http.get(f"/v1/entries?sort={CANARY}")).status_code == 422

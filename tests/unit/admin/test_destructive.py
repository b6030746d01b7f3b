"""Whatever takes something away can be asked first what it would hit: over the API, by the client, on the command line.

Each operation of the rules of access is marked here: it reads, or gives, or takes something away. One that is new has to
be marked, and one that takes away has to have a dry run that changes nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx
import pytest

from attestation.spiffe_id import TrustDomain
from ca.authority import AuthorityKind
from sds.admin.access.rules import RULES
from sds.client import Client, UnixSocket
from sds.client.nouns import OPERATION
from tests.contract.store.samples import AGENT, spec, spiffe
from tests.fakes.admin_server import Running
from tests.unit.admin.test_bulk import attest, line, stand
from tests.unit.admin.test_openapi import DOCUMENT, OPERATIONS
from tests.unit.cli.test_verbose import COMMANDS

QUERY, BODY = "query", "body"


@dataclass(frozen=True, slots=True)
class Taking:
    """`how` a dry run is asked for. `command` of the command line: `flag` asks for it, or for the opposite (--yes)."""

    how: str
    command: str
    flag: str = "--dry-run"
    path: str = ""
    body: object = None
    content: str = ""


WEB = {"spiffe_id": str(spiffe("/web")), "parent_id": str(AGENT), "selectors": ["unix:uid:1"]}
LONG_AGO = "2020-01-01T00:00:00Z"
TAKING: Mapping[str, Taking] = {
    "access.binding.delete": Taking(QUERY, "access binding delete"),
    "access.token.revoke": Taking(QUERY, "access token revoke"),
    "agent.ban": Taking(QUERY, "agent ban", path="/v1/agents/{agent}/ban"),
    "agent.delete": Taking(QUERY, "agent delete", path="/v1/agents/{agent}"),
    "audit.prune": Taking(BODY, "audit prune", flag="--yes", path="/v1/audit:prune", body={"before": LONG_AGO}),
    "authority.revoke": Taking(QUERY, "ca revoke", path="/v1/authorities/{authority}:revoke"),
    "authority.taint": Taking(QUERY, "ca taint", path="/v1/authorities/{authority}:taint"),
    "entry.apply": Taking(
        BODY, "entry apply", path="/v1/entries:apply", body={"entries": [], "prune": {"parent_id": str(AGENT)}}
    ),
    "entry.delete": Taking(QUERY, "entry delete", path="/v1/entries/{entry}"),
    "entry.import": Taking(QUERY, "entry import", path="/v1/entries:import?format=jsonl", content=line(hint="x")),
    "entry.update": Taking(QUERY, "entry update", path="/v1/entries/{entry}", body={**WEB, "hint": "x"}),
    "federation.delete": Taking(QUERY, "federation delete", path="/v1/federations/other.example"),
    "grant.delete": Taking(QUERY, "grant delete", path="/v1/grants/{grant}"),
    "kek.rotate": Taking(QUERY, "kek rotate", path="/v1/kek:rotate"),
    "revocation.create": Taking(
        BODY, "revoke", flag="--yes", path="/v1/revocations", body={"kind": "agent", "value": str(AGENT)}
    ),
    "secret.delete": Taking(QUERY, "secret delete", path="/v1/secrets/token"),
}
GIVING = {
    "access.binding.create", "access.token.bootstrap", "access.token.create", "authority.prepare", "block.lift",
    "entry.create", "federation.create", "grant.create", "secret.create", "token.create", "token.create.downstream",
    "token.issue",
}  # fmt: skip
TURNING_BACK = {
    # What was there is in the answer of a GET or in the audit log, and the same operation puts it back.
    "authority.activate": "the gate is its dry run: GET tells who would not accept what it issues",
    "audit.key.rotate": "the former key goes on verifying",
    "federation.bundle": "the former bundle can be set again",
    "federation.update": "the bundle stays",
    "secret.put": "the former version is kept, and rolled back to",
    "secret.rollback": "any version can be delivered again",
    "secret.update": "the former definition can be put again",
}
TALKING = {
    "approval.approve", "approval.reject", "audit.verify", "certificate.find", "explain", "federation.refresh",
    "grant.check", "notice.test", "page.act", "secret.refresh", "session.login", "session.logout", "token.verify",
}  # fmt: skip
READING = {name for name, (_, method) in OPERATIONS.items() if method == "get"} | {
    name for name in RULES if name.startswith(("page.", "server.", "session.", "approval.")) or name.endswith(".list")
} | {"access.whoami", "api.describe"}  # fmt: skip


def test_every_operation_is_marked_once() -> None:
    marked = [set(TAKING), GIVING, set(TURNING_BACK), TALKING, READING - TALKING]
    assert set().union(*marked) == set(RULES)
    assert sum(map(len, marked)) == len(RULES), "an operation is marked twice"


@pytest.mark.parametrize("operation", sorted(TAKING))
def test_the_command_and_the_method_have_a_dry_run(operation: str, running: Running) -> None:
    taking = TAKING[operation]
    assert any(taking.flag in each.opts for each in COMMANDS[taking.command].params)
    with Client(UnixSocket(running.socket)) as client:
        nouns = [getattr(client, name) for name, each in vars(Client).items() if isinstance(each, cached_property)]
    (method,) = [
        each
        for noun in nouns
        for _, each in inspect.getmembers(type(noun), inspect.isfunction)
        if getattr(each, OPERATION, "") == operation
    ]
    assert "dry_run" in inspect.signature(method).parameters


@pytest.mark.parametrize("operation", sorted(set(TAKING) & set(OPERATIONS)))
def test_it_is_described(operation: str) -> None:
    path, method = OPERATIONS[operation]
    described = DOCUMENT["paths"][path][method]
    if TAKING[operation].how == QUERY:
        assert "dry_run" in {each["name"] for each in described["parameters"] if each["in"] == "query"}
    else:
        content = described["requestBody"]["content"]["application/json"]["schema"]
        assert "dry_run" in DOCUMENT["components"]["schemas"][content["$ref"].rsplit("/", 1)[1]]["properties"]


LISTS = (
    "/v1/agents", "/v1/authorities", "/v1/blocks", "/v1/bundle", "/v1/entries", "/v1/federations", "/v1/grants",
    "/v1/revocations", "/v1/secrets", "/v1/secrets/token:versions",
)  # fmt: skip


async def peopled(running: Running, http: httpx.AsyncClient) -> dict[str, str]:
    """One of everything; the names that paths have."""
    attest(running, AGENT)
    entry = await stand(running, spec("/web"))
    await http.post("/v1/secrets", json={"name": "token", "kind": "generic", "source": {"backend": "embedded"}})
    await http.put("/v1/secrets/token:value", json={"fields": {"": "dmFsdWU="}})
    made = await http.post("/v1/grants", json={"secret": "token", "spiffe_id": str(spiffe("/web"))})
    source = {"profile": "https_web", "endpoint_url": "https://other.example/bundle"}
    await http.post("/v1/federations", json={"trust_domain": TrustDomain("other.example").name, **source})
    authority = running.fakes.authorities.active(AuthorityKind.X509).id
    return {"agent": str(AGENT), "entry": entry, "grant": made.json()["id"], "authority": authority}


async def state(running: Running, http: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = {path: (await http.get(path)).text for path in LISTS}
    return {**found, "kek": running.fakes.kek.number, "events": len(running.fakes.audit.rows)}


@pytest.mark.parametrize("operation", sorted(set(TAKING) & set(OPERATIONS)))
async def test_a_dry_run_changes_nothing_and_is_noted(
    operation: str, http: httpx.AsyncClient, running: Running
) -> None:
    taking = TAKING[operation]
    path = taking.path.format(**await peopled(running, http))
    before = await state(running, http)
    reads = len(running.fakes.audit.reads)
    how: dict[str, Any] = {}
    if taking.how == QUERY:
        path += ("&" if "?" in path else "?") + "dry_run=true"
    if taking.content:
        how = {"content": taking.content.encode(), "headers": {"Content-Type": "application/jsonl"}}
    elif taking.how == BODY and isinstance(taking.body, dict):
        how = {"json": {**taking.body, "dry_run": True}}
    elif taking.body is not None:
        how = {"json": taking.body}
    answer = await http.request(OPERATIONS[operation][1], path, **how)
    assert answer.status_code == 200, answer.text
    assert answer.json()["dry_run"] is True
    (noted,) = [one for _, one in running.fakes.audit.reads[reads:] if one.operation == operation]
    assert taking.how == BODY or "dry_run=true" in str(noted)
    assert await state(running, http) == before


async def test_what_an_update_would_change_and_whom_it_concerns(http: httpx.AsyncClient, running: Running) -> None:
    path = f"/v1/entries/{(await peopled(running, http))['entry']}"
    stands = (await http.get(path)).json()
    wanted = {**{key: value for key, value in stands.items() if key not in {"created_at", "updated_at"}}, "hint": "x"}
    said = (await http.put(f"{path}?dry_run=true", json=wanted)).json()
    assert (said["changes"], said["hint"], said["revision"]) == ({"hint": ["", "x"]}, "x", stands["revision"])
    assert said["blast_radius"]["certificates_total"] == 0
    nothing = (await http.put(f"{path}?dry_run=true", json={**wanted, "hint": ""})).json()
    assert nothing["changes"] == {}
    for odd, status in (({**wanted, "revision": 9}, 412), ({**wanted, "spiffe_id": "spiffe://else.org/x"}, 422)):
        assert (await http.put(f"{path}?dry_run=true", json=odd)).status_code == status
    other = await stand(running, spec("/other"))
    twin = await http.put(f"/v1/entries/{other}?dry_run=true", json={**WEB, "selectors": stands["selectors"]})
    assert twin.status_code == 409, twin.text
    done = (await http.put(path, json=wanted)).json()
    assert done.keys() == stands.keys()

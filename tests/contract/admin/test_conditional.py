"""If-Match is compared where the change is made: of those who saw the same version only one changes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import httpx
import pytest
from starlette.types import Scope

from sds.admin.app import create_api
from sds.admin.conditional import CONDITIONAL
from sds.admin.services import AdminCall, Caller
from tests.contract.admin.conftest import Subject
from tests.contract.admin.test_federations import bundle
from tests.contract.admin.test_revocations import CALL
from tests.contract.store.samples import AGENT

WEB = {"spiffe_id": "spiffe://example.org/web", "parent_id": str(AGENT), "selectors": ["unix:uid:1000"]}
SECRET = {"name": "token", "kind": "generic", "source": {"backend": "embedded"}}
ENDPOINT = {"profile": "https_web", "endpoint_url": "https://other.example/0"}
_AGENT, _FEDERATION = f"/v1/agents/{AGENT}", "/v1/federations/other.example"


class Everybody:
    """A door without a lock: whoever comes may do everything."""

    def nobody(self, _scope: Scope) -> Caller:
        return CALL.caller

    async def enter(self, _scope: Scope, call: AdminCall) -> AdminCall:
        return replace(CALL, request_id=call.request_id)


@pytest.fixture
async def http(subject: Subject) -> AsyncIterator[httpx.AsyncClient]:
    """The API over these services."""
    app = create_api(subject.services).behind(Everybody())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sds", timeout=60) as client:
        yield client


@dataclass(frozen=True, slots=True)
class Write:
    """`operation` with a method, what stands after the thing's own path, and a body. `ends`: the thing is gone then."""

    operation: str
    method: str
    suffix: str = ""
    body: object = None
    ends: bool = False


Made = Callable[[Subject, httpx.AsyncClient], Awaitable[str]]
"""Makes the thing; its path."""


@dataclass(frozen=True, slots=True)
class Race:
    make: Made
    writes: tuple[Write, ...] = field(default=())


async def agent(subject: Subject, _http: httpx.AsyncClient) -> str:
    await subject.attested(AGENT)
    return _AGENT


async def authority(subject: Subject, http: httpx.AsyncClient) -> str:
    await subject.has_authorities()
    made = await http.post("/v1/authorities:prepare", json={"kind": "x509"})
    return f"/v1/authorities/{made.json()['id']}"


async def active_authority(subject: Subject, http: httpx.AsyncClient) -> str:
    """The one that has to step aside before it goes."""
    await subject.has_authorities()
    listed = (await http.get("/v1/authorities?kind=x509")).json()["authorities"]
    return next(f"/v1/authorities/{one['id']}" for one in listed if one["state"] == "active")


async def entry(_subject: Subject, http: httpx.AsyncClient) -> str:
    return f"/v1/entries/{(await http.post('/v1/entries', json=WEB)).json()['id']}"


async def block(_subject: Subject, http: httpx.AsyncClient) -> str:
    order = {"kind": "spiffe_id", "value": WEB["spiffe_id"], "dry_run": False}
    return f"/v1/blocks/{(await http.post('/v1/revocations', json=order)).json()['block']['id']}"


async def federation(_subject: Subject, http: httpx.AsyncClient) -> str:
    await http.post("/v1/federations", json={"trust_domain": "other.example", **ENDPOINT})
    return _FEDERATION


async def secret(_subject: Subject, http: httpx.AsyncClient) -> str:
    await http.post("/v1/secrets", json=SECRET)
    for _ in range(2):
        written = await http.put("/v1/secrets/token:value", json={"fields": {"": "dmFsdWU="}})
        assert written.status_code == 200, written.text
    return "/v1/secrets/token"


async def grant(subject: Subject, http: httpx.AsyncClient) -> str:
    await secret(subject, http)
    made = await http.post("/v1/grants", json={"secret": "token", "spiffe_id": WEB["spiffe_id"]})
    return f"/v1/grants/{made.json()['id']}"


def pem() -> dict[str, str]:
    """Another one each time; bundles given as PEM all have the sequence 0."""
    return {"bundle": bundle().pem().decode()}


RACES = {
    "agent, banned by two": Race(agent, (Write("agent.ban", "POST", "/ban"),) * 2),
    "agent, banned and deleted": Race(
        agent, (Write("agent.ban", "POST", "/ban"), Write("agent.delete", "DELETE", ends=True))
    ),
    "authority, taken back twice": Race(
        authority, (Write("authority.taint", "POST", ":taint"), Write("authority.revoke", "POST", ":revoke"))
    ),
    "authority, activated and tainted": Race(
        authority,
        (
            Write("authority.activate", "POST", ":activate", {"force": True}),
            Write("authority.taint", "POST", ":taint"),
        ),
    ),
    "authority, active, revoked by two": Race(
        active_authority, (Write("authority.revoke", "POST", ":revoke", {"force": True}),) * 2
    ),
    "block, lifted by two": Race(block, (Write("block.lift", "POST", ":lift"),) * 2),
    "entry, updated by three": Race(
        entry, tuple(Write("entry.update", "PUT", "", {**WEB, "hint": name}) for name in ("a", "b", "c"))
    ),
    "entry, updated and deleted": Race(
        entry,
        (Write("entry.update", "PUT", "", {**WEB, "hint": "a"}), Write("entry.delete", "DELETE", ends=True)),
    ),
    "federation, updated by three": Race(
        federation,
        tuple(
            Write("federation.update", "PUT", "", {**ENDPOINT, "endpoint_url": f"https://other.example/{at}"})
            for at in (1, 2, 3)
        ),
    ),
    "federation, two bundles": Race(
        federation, tuple(Write("federation.bundle", "PUT", "/bundle", pem()) for _ in range(2))
    ),
    "federation, a bundle and its end": Race(
        federation,
        (Write("federation.bundle", "PUT", "/bundle", pem()), Write("federation.delete", "DELETE", ends=True)),
    ),
    "grant, deleted by two": Race(grant, (Write("grant.delete", "DELETE", ends=True),) * 2),
    "secret, updated by three": Race(
        secret, tuple(Write("secret.update", "PUT", "", {**SECRET, "owner": name}) for name in ("a", "b", "c"))
    ),
    "secret, rolled back by two": Race(
        secret, tuple(Write("secret.rollback", "POST", ":rollback", {"version": at}) for at in (1, 2))
    ),
    "secret, updated and deleted": Race(
        secret,
        (Write("secret.update", "PUT", "", {**SECRET, "owner": "a"}), Write("secret.delete", "DELETE", ends=True)),
    ),
}
VALUE = Write("secret.put", "PUT", ":value", {"fields": {"": "dmFsdWU="}})
"""Makes no other version of the definition, so that there is nothing to race for."""


async def ask(http: httpx.AsyncClient, path: str, write: Write, tag: str) -> httpx.Response:
    return await http.request(write.method, f"{path}{write.suffix}", json=write.body, headers={"If-Match": tag})


@pytest.mark.parametrize("name", RACES)
async def test_of_those_who_saw_the_same_version_only_one_changes_it(
    subject: Subject, http: httpx.AsyncClient, name: str
) -> None:
    race = RACES[name]
    path = await race.make(subject, http)
    tag = (await http.get(path)).headers["etag"]
    answers = await asyncio.gather(*(ask(http, path, write, tag) for write in race.writes))
    done = [write for write, answer in zip(race.writes, answers, strict=True) if answer.is_success]
    assert len(done) == 1, [answer.text for answer in answers]
    # RFC 9110 section 13.2.1: what would be refused without the condition is refused for that.
    assert [each.status_code for each in answers if not each.is_success] == [404 if done[0].ends else 412] * (
        len(answers) - 1
    )
    after = await http.get(path)
    assert after.status_code == (404 if done[0].ends else 200)
    if not done[0].ends:
        assert after.headers["etag"] != tag


async def test_a_value_is_written_to_the_definition_that_was_seen(subject: Subject, http: httpx.AsyncClient) -> None:
    path = await secret(subject, http)
    tag = (await http.get(path)).headers["etag"]
    assert (await ask(http, path, VALUE, tag)).status_code == 200
    changed = await ask(http, path, Write("secret.update", "PUT", "", {**SECRET, "owner": "a"}), tag)
    assert changed.status_code == 200
    assert (await ask(http, path, VALUE, tag)).status_code == 412
    assert len((await http.get(f"{path}:versions")).json()["versions"]) == 3


def test_every_operation_that_compares_is_raced() -> None:
    assert {write.operation for race in RACES.values() for write in race.writes} | {VALUE.operation} == CONDITIONAL


@pytest.mark.parametrize("subject", ["fake"], indirect=True)
async def test_a_condition_that_nobody_would_look_at_is_refused(http: httpx.AsyncClient) -> None:
    for method, path in (("POST", "/v1/entries"), ("DELETE", "/v1/access/tokens/x"), ("POST", "/v1/kek:rotate")):
        answer = await http.request(method, path, json=WEB, headers={"If-Match": '"1"'})
        assert answer.status_code in ({400, 404} if "access" in path else {400}), path
    assert (await http.get("/v1/entries")).json()["entries"] == []

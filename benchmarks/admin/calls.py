"""What is asked: each list, search, detail and page, with other values each time so that no answer is a repetition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

Json = dict[str, Any]
Ask = Callable[[int], "Request"]
"""The request of a round."""


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    body: Json | None = None
    html: bool = False

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"


@dataclass(frozen=True, slots=True)
class Known:
    """What there is to ask for, from the API itself."""

    certificates: Sequence[Json]
    entries: Sequence[Json]
    agents: Sequence[Json]
    streams: Sequence[Json]
    secrets: Sequence[Json]
    events: Sequence[Json]
    newest: int  # number of the newest event
    cursor: str  # deep in the list of certificates
    pem: str


def requests(known: Known) -> dict[str, Ask]:
    """By the name under which the figure is told."""
    return {**_certificates(known), **_audit(known), **_inventory(known), **_pages(known)}


def _certificates(known: Known) -> dict[str, Ask]:
    path = "/v1/certificates"
    one = _each(known.certificates)
    return {
        "certificates": lambda _: _get(path, limit=100),
        "certificates, page of 1000": lambda _: _get(path, limit=1000),
        "certificates, deep page": lambda _: _get(path, limit=100, cursor=known.cursor),
        "certificates, next to expire": lambda _: _get(path, limit=100, sort="expires"),
        "certificates by serial": lambda n: _get(path, serial=one(n)["serial"]),
        "certificates by SPIFFE ID": lambda n: _get(path, spiffe_id=one(n)["spiffe_id"]),
        "certificates below a path": lambda n: _get(path, below=one(n)["spiffe_id"].rpartition("/")[0]),
        "certificates by key": lambda n: _get(path, key_hash=one(n)["key_hash"]),
        "certificates by entry": lambda n: _get(path, entry_id=one(n)["entry_id"]),
        "certificates by agent": lambda n: _get(path, agent_id=one(n)["agent_id"]),
        "certificates by owner": lambda n: _get(path, owner=one(n)["owner"]),
        "certificates by label": lambda n: _get(path, label=f"team={one(n)['labels']['team']}"),
        "certificates that are revoked": lambda _: _get(path, state="revoked"),
        "certificates that expire soon": lambda n: _get(path, expires_before=one(n)["not_after"], sort="expires"),
        "certificate": lambda n: _get(f"{path}/{one(n)['serial']}"),
        "certificate by PEM": lambda _: Request(f"{path}:find", {"pem": known.pem}),
    }


def _audit(known: Known) -> dict[str, Ask]:
    path = "/v1/audit"
    event, place = _each(known.events), _spread(known.newest)
    return {
        "audit, newest": lambda _: _get(path, limit=100),
        "audit, from a place on": lambda n: _get(path, limit=100, after=place(n)),
        "audit, back from a place": lambda n: _get(path, limit=100, before=place(n)),
        "audit by action": lambda n: _get(path, limit=100, action=event(n)["action"]),
        "audit by target": lambda n: _get(path, limit=100, target=event(n)["target"]["id"]),
        "audit by actor": lambda n: _get(path, limit=100, actor=event(n)["actor"]["id"]),
        "audit by request": lambda n: _get(path, limit=100, request_id=event(n)["request_id"]),
        "audit, refused": lambda _: _get(path, limit=100, outcome="refused"),
        "audit of an hour": lambda n: _get(path, limit=100, since=event(n)["time"]),
        "event": lambda n: _get(f"{path}/events/{place(n)}"),
        "event's proof": lambda n: _get(f"{path}/events/{place(n)}/proof"),
        "consistency proof": lambda n: _get(f"{path}/consistency", **{"from": place(n), "to": known.newest}),
        "checkpoint": lambda _: _get(f"{path}/checkpoint"),
    }


def _inventory(known: Known) -> dict[str, Ask]:
    entry, stream = _each(known.entries), _each(known.streams)
    return {
        "entries": lambda _: _get("/v1/entries", limit=100),
        "entries by label": lambda n: _get("/v1/entries", limit=100, label=f"team={entry(n)['labels']['team']}"),
        "entry": lambda n: _get(f"/v1/entries/{entry(n)['id']}"),
        "agents": lambda _: _get("/v1/agents", limit=100),
        "streams": lambda _: _get("/v1/streams", limit=100),
        "streams that refused": lambda _: _get("/v1/streams", limit=100, nacked="true"),
        "streams by SPIFFE ID": lambda n: _get("/v1/streams", spiffe_id=stream(n)["spiffe_ids"][0]),
        "secrets": lambda _: _get("/v1/secrets", limit=100),
        "grants": lambda _: _get("/v1/grants", limit=100),
        "revocations": lambda _: _get("/v1/revocations", limit=100),
        "blocks": lambda _: _get("/v1/blocks", limit=100),
        "authorities": lambda _: _get("/v1/authorities"),
        "statistics": lambda _: _get("/v1/statistics"),
        "who would get what": lambda n: Request("/v1/explain", {"selectors": entry(n)["selectors"]}),
    }


def _pages(known: Known) -> dict[str, Ask]:
    certificate, entry, place = _each(known.certificates), _each(known.entries), _spread(known.newest)
    owner = _each(known.certificates)
    agent, secret = _each(known.agents), _each(known.secrets)
    return {
        "page: overview": lambda _: _page("/"),
        "page: certificates": lambda _: _page("/certificates"),
        "page: certificates of an owner": lambda n: _page("/certificates", owner=owner(n)["owner"]),
        "page: certificate": lambda n: _page(f"/certificates/{certificate(n)['serial']}"),
        "page: workloads": lambda _: _page("/workloads"),
        "page: agents": lambda _: _page("/agents"),
        "page: agent": lambda n: _page(f"/agents/{quote(agent(n)['spiffe_id'], safe='')}"),
        "page: entries": lambda _: _page("/entries"),
        "page: entry": lambda n: _page(f"/entries/{entry(n)['id']}"),
        "page: secrets": lambda _: _page("/secrets"),
        "page: grants": lambda _: _page("/grants"),
        "page: secret": lambda n: _page(f"/secrets/{quote(secret(n)['name'])}"),
        "page: authorities": lambda _: _page("/authorities"),
        "page: revoke": lambda _: _page("/revoke"),
        "page: audit": lambda _: _page("/audit"),
        "page: event": lambda n: _page(f"/audit/{place(n)}"),
        "page: access": lambda _: _page("/access"),
        "page: notices": lambda _: _page("/notices"),
    }


EXPORTS = {
    "certificates": "/v1/certificates:export",
    "audit": "/v1/audit:export",
    "entries": "/v1/entries:export",
    "streams": "/v1/streams:export",
}


def _get(path: str, **query: object) -> Request:
    return Request(f"{path}?{urlencode(query)}" if query else path)


def _page(path: str, **query: object) -> Request:
    return Request(_get(path, **query).path, html=True)


def _each(items: Sequence[Json]) -> Callable[[int], Json]:
    return lambda number: items[number * 37 % len(items)]


def _spread(newest: int) -> Callable[[int], int]:
    """Places all over the log."""
    return lambda number: 1 + number * 7_919 % newest

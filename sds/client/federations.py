"""Other trust domains."""

from __future__ import annotations

from typing import Any, Literal

from sds.client.bundle import Format
from sds.client.nouns import Noun, operation
from sds.client.results import Many, Result, Time
from sds.client.transport.connection import part

_PATH = "/v1/federations"
_PATIENCE = 330.0
"""Seconds; the server's own limit for a poll (federation.timeout) is at most 300."""
Profile = Literal["https_web", "https_spiffe", "static"]


class Federation(Result):
    """`sequence` is None while there is no bundle; `problem` is what the last poll failed with."""

    trust_domain: str
    profile: str
    endpoint_url: str
    endpoint_id: str | None
    sequence: int | None
    x509_authorities: int
    jwt_authorities: int
    refresh_hint: float | None
    fetched_at: Time | None
    tried_at: Time | None
    problem: str
    entries: int


class DeletedFederation(Federation):
    """What stood. `dry_run`: nothing was done."""

    dry_run: bool = False


class _All(Result):
    federations: Many[Federation]


class Federations(Noun):
    @operation("federation.list")
    def list(self) -> tuple[Federation, ...]:
        return self._get(_All, _PATH).federations

    @operation("federation.show")
    def get(self, trust_domain: str) -> Federation:
        return self._get(Federation, _one(trust_domain))

    @operation("federation.create")
    def create(
        self,
        trust_domain: str,
        profile: Profile,
        *,
        endpoint_url: str = "",
        endpoint_id: str | None = None,
        bundle: str | None = None,
    ) -> Federation:
        """`bundle`: what to start from, PEM or SPIFFE. Also where the same one stands; raises AlreadyExists."""
        body = {"trust_domain": trust_domain, **_source(profile, endpoint_url, endpoint_id)}
        return self._post(Federation, _PATH, body if bundle is None else {**body, "bundle": bundle})

    @operation("federation.update")
    def update(
        self,
        trust_domain: str,
        profile: Profile,
        *,
        endpoint_url: str = "",
        endpoint_id: str | None = None,
        if_match: str | None = None,
    ) -> Federation:
        """Another endpoint, all of whose parameters are told."""
        source = _source(profile, endpoint_url, endpoint_id)
        return self._put(Federation, _one(trust_domain), source, if_match=if_match)

    @operation("federation.refresh")
    def refresh(self, trust_domain: str) -> Federation:
        """Asks the endpoint now; `problem` says why that failed, if it did."""
        return self._post(Federation, f"{_one(trust_domain)}:refresh", keyed=False, timeout=_PATIENCE)

    @operation("federation.delete")
    def delete(self, trust_domain: str, *, dry_run: bool = False, if_match: str | None = None) -> DeletedFederation:
        """Ends the relationship; what stood."""
        query = {"dry_run": dry_run or None}
        return self._delete(DeletedFederation, _one(trust_domain), query, if_match=if_match)

    @operation("federation.bundle.show")
    def bundle(self, trust_domain: str, bundle_format: Format = "spiffe") -> bytes:
        """The last good one."""
        return self._calls.get(f"{_one(trust_domain)}/bundle", {"format": bundle_format}).content

    @operation("federation.bundle")
    def set_bundle(self, trust_domain: str, bundle: str, *, if_match: str | None = None) -> Federation:
        """Replaces it, whatever its sequence is."""
        return self._put(Federation, f"{_one(trust_domain)}/bundle", {"bundle": bundle}, if_match=if_match)


def _one(trust_domain: str) -> str:
    return f"{_PATH}/{part(trust_domain)}"


def _source(profile: str, endpoint_url: str, endpoint_id: str | None) -> dict[str, Any]:
    given = {"profile": profile, "endpoint_url": endpoint_url, "endpoint_id": endpoint_id}
    return {name: value for name, value in given.items() if value}

"""Authorities, their gates, and what moves them."""

from __future__ import annotations

from typing import Any

from sds.client.errors import GateClosed
from sds.client.nouns import Noun, operation
from sds.client.results import Many, Result, Time, read
from sds.client.revocations import BlastRadius
from sds.client.transport.connection import part

_PATH = "/v1/authorities"


class Straggler(Result):
    """An agent (no `stream_id`) or a sidecar's stream that does not have the bundle yet, and why."""

    agent_id: str
    stream_id: str
    pid: int
    path: str
    spiffe_ids: Many[str]
    why: str
    detail: str
    sequence: int
    last_seen: Time | None


class Gate(Result):
    """`sequence`: the bundle that all need. `stragglers` are cut, `stragglers_total` is not."""

    open: bool
    sequence: int
    total: int
    acked: int
    waits_until: Time | None
    reasons: Many[str]
    stragglers: Many[Straggler]
    stragglers_total: int


class Successor(Result):
    """When the successor of an active authority is made, may sign, and signs whoever is late."""

    prepare: Time
    activate: Time
    deadline: Time


class Authority(Result):
    """`kind`: x509 or jwt. `state`: prepared, active or old."""

    id: str
    kind: str
    state: str
    tainted: bool
    revoked: bool
    key_type: str
    key_manager: str
    upstream: str
    cross_signed: bool
    published_sequence: int
    not_before: Time
    not_after: Time
    created_at: Time
    activated_at: Time | None
    retired_at: Time | None
    kept_until: Time | None
    successor_due: Successor | None
    gate: Gate | None

    @property
    def sound(self) -> bool:
        """Whether it may sign at all."""
        return not (self.tainted or self.revoked)


class AuthorityGone(Authority):
    """`blast_radius`: of a dry run, which changes nothing: what was issued, and who holds that."""

    dry_run: bool = False
    blast_radius: BlastRadius | None = None


class Due(Result):
    """What the schedule has to do now."""

    step: str
    kind: str
    authority_id: str
    reason: str


class Overview(Result):
    authorities: Many[Authority]
    due: Many[Due]


class Authorities(Noun):
    @operation("authority.list")
    def overview(self, kind: str | None = None) -> Overview:
        return self._get(Overview, _PATH, {"kind": kind})

    @operation("authority.show")
    def get(self, authority_id: str) -> Authority:
        return self._get(Authority, _one(authority_id))

    @operation("authority.prepare")
    def prepare(self, kind: str = "x509") -> Authority:
        """Makes the next one and puts it into every bundle; it signs nothing before it is activated."""
        return self._post(Authority, f"{_PATH}:prepare", {"kind": kind})

    @operation("authority.activate")
    def activate(
        self, authority_id: str, *, force: bool = False, cross_sign: bool = False, if_match: str | None = None
    ) -> Authority:
        """Raises GateClosed while somebody would not accept what it issues; see `closed_gate`."""
        body = {"force": force, "cross_sign": cross_sign}
        return self._post(Authority, f"{_one(authority_id)}:activate", body, if_match=if_match)

    @operation("authority.taint")
    def taint(self, authority_id: str, *, dry_run: bool = False, if_match: str | None = None) -> AuthorityGone:
        """It signs nothing more, and what it issued is replaced; a dry run says what that is."""
        path, query = f"{_one(authority_id)}:taint", {"dry_run": dry_run or None}
        return self._post(AuthorityGone, path, None, query, keyed=not dry_run, if_match=if_match)

    @operation("authority.revoke")
    def revoke(
        self, authority_id: str, *, force: bool = False, dry_run: bool = False, if_match: str | None = None
    ) -> AuthorityGone:
        """Out of the bundle at once; a dry run says what nobody would accept any more."""
        path, query = f"{_one(authority_id)}:revoke", {"dry_run": dry_run or None}
        return self._post(AuthorityGone, path, {"force": force}, query, keyed=not dry_run, if_match=if_match)


def closed_gate(error: GateClosed) -> Gate:
    """Who is waited for. Raises Unexpected."""
    found: Any = error.document.get("gate")
    return read(Gate, found)


def _one(authority_id: str) -> str:
    return f"{_PATH}/{part(authority_id)}"

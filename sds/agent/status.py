"""What the agent tells operators on its own node. Keys are a promise: snake_case, and only ever added to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from attestation.attestor import Process
from attestation.entry import RegistrationEntry, explain, match
from attestation.selector import Selectors
from sds.agent.cache import Cache
from sds.agent.cache.views import HeldSvid
from sds.agent.checkpoints.witness import Contradiction
from sds.agent.identity import AgentIdentity
from sds.agent.secrets.shelf import Standing, Wanted
from sds.agent.upstream import UpstreamStatus
from sds.agent.workload import Workload
from sds.audit.checkpoint import Checkpoint
from sds.clock import Clock
from sds.delivery.registry import StreamState

Json = dict[str, Any]
MOST_LISTED = 100
"""Secrets that one answer lists."""
_ATTENTION = {Standing.EXPIRED, Standing.UNAVAILABLE, Standing.NOT_GRANTED}


class Connection(Protocol):
    """The part of Upstream that is used here."""

    @property
    def identity(self) -> AgentIdentity: ...

    @property
    def status(self) -> UpstreamStatus: ...


class Renewals(Protocol):
    """When the agent's own SVID is renewed."""

    def due(self) -> datetime: ...


class Secrets(Protocol):
    """The named secrets that are wanted here."""

    def list(self) -> list[Wanted]: ...


class Streams(Protocol):
    """The open streams."""

    def snapshot(self) -> tuple[StreamState, ...]: ...


class Witnessed(Protocol):
    """What is remembered of the server's audit log."""

    note: str
    seen_at: datetime | None
    contradiction: Contradiction | None

    @property
    def newest(self) -> Checkpoint | None: ...


@dataclass(frozen=True, slots=True)
class Constants:
    """What does not change while the agent runs."""

    version: str
    server: str
    socket: str
    started_at: datetime


class AgentStatus:
    """Builds the answers; nothing here asks the server."""

    def __init__(
        self,
        constants: Constants,
        upstream: Connection,
        own: Renewals,
        cache: Cache,
        streams: Streams,
        secrets: Secrets,
        witness: Witnessed,
        clock: Clock,
    ) -> None:
        self._constants = constants
        self._upstream = upstream
        self._own = own
        self._cache = cache
        self._streams = streams
        self._secrets = secrets
        self._witness = witness
        self._clock = clock

    def earliest_expiry(self) -> datetime:
        """When the first certificate that matters expires if nothing renews from now: a workload's or the agent's."""
        own = self._upstream.identity.svid.not_after
        return min(own, self._cache.earliest_expiry() or own)

    def overview(self) -> Json:
        """``GET /v1/status``."""
        now = self._clock.now()
        identity, link = self._upstream.identity, self._upstream.status
        first = self.earliest_expiry()
        return {
            "version": self._constants.version,
            "started_at": _time(self._constants.started_at),
            "now": _time(now),
            "agent": {
                "spiffe_id": str(identity.svid.spiffe_id),
                "serial": identity.svid.serial,
                "not_after": _time(identity.svid.not_after),
                "renew_at": _time(self._own.due()),
            },
            "server": {
                "address": self._constants.server,
                "connected": link.connected,
                "since": _time(link.since),
                "problem": link.problem,
                "refused": link.refused,
                "clock_skew_seconds": link.skew_seconds,
            },
            "bundle": {
                "trust_domain": identity.bundle.trust_domain.name,
                "sequence": identity.bundle.sequence,
                "x509_authorities": len(identity.bundle.x509_authorities),
            },
            "socket": self._constants.socket,
            "synced": self._cache.synced,
            "entries": len(self._cache.entries),
            "svids": len(self._cache.held),
            "streams": len(self._streams.snapshot()),
            "secrets": self._secrets_overview(),
            "audit": self._audit(),
            "first_expiry": _time(first),
            "outage_budget_seconds": max(0, int((first - now).total_seconds())),
        }

    def _audit(self) -> Json | None:
        """The newest checkpoint of the server's audit log, to compare with; None before the first."""
        newest, last = self._witness.newest, self._witness.contradiction
        if newest is None:
            return None
        return {
            "size": newest.size,
            "note": self._witness.note,
            "seen_at": _time(self._witness.seen_at),
            "contradiction": "" if last is None else f"{last.what} ({last.at})",
        }

    def _secrets_overview(self) -> Json:
        """Names, never values. `attention`: what is not as whoever asked for it would like it."""
        wanted = self._secrets.list()
        attention = [one for one in wanted if one.stale or one.standing in _ATTENTION]
        return {
            "wanted": len(wanted),
            "held": sum(one.standing is Standing.GIVEN for one in wanted),
            "attention": [self._secret(one) for one in attention[:MOST_LISTED]],
            "attention_total": len(attention),
        }

    def _secret(self, one: Wanted) -> Json:
        entry = self._cache.entries.get(one.entry_id)
        return {
            "name": one.name,
            "entry_id": one.entry_id,
            "spiffe_id": str(entry.spiffe_id) if entry else "",
            "state": "stale" if one.stale else one.standing.value,
            "version": one.version,
            "not_after": _time(one.not_after),
        }

    def explained(self, process: Process, selectors: Selectors, workload: Workload | None) -> Json:
        """``GET /v1/explain``: why a process gets what it gets."""
        now = self._clock.now()
        entries = self._cache.entries.values()
        return {
            "process": {"pid": process.pid, "uid": process.uid, "gid": process.gid, "start_time": process.start_time},
            "selectors": sorted(str(selector) for selector in selectors),
            "connected": workload is not None,
            "streams": sum(state.caller.pid == process.pid for state in self._streams.snapshot()),
            "synced": self._cache.synced,
            "matching": [self._match(entry) for entry in match(entries, selectors, now)],
            "near_misses": [
                {
                    "entry_id": miss.entry.id,
                    "spiffe_id": str(miss.entry.spiffe_id),
                    "missing": sorted(str(selector) for selector in miss.missing),
                }
                for miss in explain(entries, selectors, now)
            ],
        }

    def stream_list(self) -> Json:
        """``GET /v1/streams``."""
        return {"streams": [_stream(state) for state in self._streams.snapshot()], "next_cursor": None}

    def _renewed_at(self, svid: HeldSvid, entry: RegistrationEntry) -> datetime:
        return min(svid.held.renew_at, self._cache.replace_at.get(entry.id, svid.held.renew_at))

    def _match(self, entry: RegistrationEntry) -> Json:
        svid = self._cache.held.get(entry.id)
        attempt = self._cache.attempts.get(entry.id)
        return {
            "entry_id": entry.id,
            "entry_revision": entry.revision,
            "spiffe_id": str(entry.spiffe_id),
            "serial": svid.identity.certificate.serial if svid else None,
            "not_after": _time(svid.held.not_after) if svid else None,
            "renew_at": _time(self._renewed_at(svid, entry)) if svid else None,
            "problem": attempt.reason if attempt else "",
            "retry_at": _time(attempt.retry_at) if attempt else None,
        }


def _stream(state: StreamState) -> Json:
    return {
        "id": state.id,
        "protocol": state.protocol,
        "node_id": state.node_id,
        "opened_at": _time(state.opened_at),
        "process": {"pid": state.caller.pid, "uid": state.caller.uid, "path": state.caller.path},
        "spiffe_ids": list(state.caller.spiffe_ids),
        "resources": [
            {
                "name": resource.name,
                "sent_version": resource.sent_version,
                "sent_serial": resource.sent_serial,
                "sent_at": _time(resource.sent_at),
                "acked_version": resource.acked_version,
                "acked_serial": resource.acked_serial,
                "acked_at": _time(resource.acked_at),
                "nacked_version": resource.nacked_version,
                "nack_detail": resource.nack_detail,
                "sent_sequence": resource.sent_sequence,
                "acked_sequence": resource.acked_sequence,
                "refusal": resource.refusal,
            }
            for resource in state.resources
        ],
    }


def _time(when: datetime | None) -> str | None:
    """RFC 3339 in UTC."""
    return None if when is None else when.isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""What happens in a rotation by hand, as values: for a person's eyes, or as one line of JSON each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sds.client.authorities import Authority, Gate

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Started:
    kind: str
    active: str | None

    def document(self) -> Json:
        return {"event": "started", "kind": self.kind, "active": self.active}


@dataclass(frozen=True, slots=True)
class Prepared:
    """`resumed`: it was there already."""

    authority: Authority
    resumed: bool

    def document(self) -> Json:
        return {
            "event": "prepared",
            "authority_id": self.authority.id,
            "bundle_sequence": self.authority.published_sequence,
            "resumed": self.resumed,
        }


@dataclass(frozen=True, slots=True)
class Waiting:
    """How far the gate is. `seconds`: how long it has been waited for in this run."""

    authority_id: str
    gate: Gate
    raw: Json
    seconds: float

    def document(self) -> Json:
        return {"event": "gate", "authority_id": self.authority_id, **self.raw}


@dataclass(frozen=True, slots=True)
class Away:
    """The server cannot be reached; it is waited for."""

    message: str

    def document(self) -> Json:
        return {"event": "server-away", "reason": self.message}


@dataclass(frozen=True, slots=True)
class Lost:
    """The prepared authority will never sign: it was taken back, or has expired."""

    authority_id: str

    def document(self) -> Json:
        return {"event": "lost", "authority_id": self.authority_id}


@dataclass(frozen=True, slots=True)
class Activated:
    """`by_us`: not by the schedule, or by somebody else."""

    authority: Authority
    by_us: bool
    forced: bool = False

    def document(self) -> Json:
        return {
            "event": "activated",
            "authority_id": self.authority.id,
            "by_us": self.by_us,
            "forced": self.forced,
            "cross_signed": self.authority.cross_signed,
        }


@dataclass(frozen=True, slots=True)
class Done:
    """`replaced` stays in the bundle until `kept_until`, when nothing that it issued is valid any more."""

    authority_id: str
    replaced: str | None
    kept_until: datetime | None
    seconds: float

    def document(self) -> Json:
        return {
            "event": "done",
            "authority_id": self.authority_id,
            "replaced": self.replaced,
            "kept_until": None if self.kept_until is None else self.kept_until.isoformat().replace("+00:00", "Z"),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Stopped:
    """`reason`: interrupted, timeout or failed. Run again, the command goes on with `authority_id`."""

    reason: str
    authority_id: str | None

    def document(self) -> Json:
        return {"event": "stopped", "reason": self.reason, "authority_id": self.authority_id}


Event = Started | Prepared | Waiting | Away | Lost | Activated | Done | Stopped

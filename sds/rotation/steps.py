"""What each step of a rotation writes: the slots, and in the same transaction the audit event that says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple, Protocol

from ca.authority import Authority, AuthorityState
from ca.chains.cross_sign import vouched_by
from ca.gate import Gate
from sds.audit.event import Actor, AuditEvent, Json, Target
from sds.rotation.look import Look
from sds.store.errors import Conflict
from sds.store.revocation.records import CrlRecord
from sds.store.unit_of_work import UnitOfWork

MAX_NAMED = 100
"""Stragglers that an event names; it always has their number."""


class Call(NamedTuple):
    """Who asked, and under which request id."""

    actor: Actor
    request_id: str


class EventMaker(Protocol):
    """See sds.server.events.Events."""

    def make(
        self,
        time: datetime,
        action: str,
        actor: Actor,
        target: Target,
        *,
        reason: str = "",
        request_id: str = "",
        details: Mapping[str, Json] | None = None,
    ) -> AuditEvent: ...


class Steps:
    """Each method is one unit of work, by one look. All raise Conflict if the journal is at another revision by now."""

    def __init__(self, events: EventMaker) -> None:
        self._events = events

    def prepare(
        self, uow: UnitOfWork, look: Look, made: Authority, crl: CrlRecord | None, reason: str, call: Call
    ) -> Authority:
        """Publish `made`; it counts as published from now on, however long it took to make.

        Where authorities have CRLs it comes with its own: verifiers that have a CRL of any refuse what an issuer
        without one has issued.
        """
        uow.authorities.expect(look.revision)
        uow.authorities.add(replace(made, created_at=uow.now))
        if crl is not None and uow.crls.wanted:
            uow.crls.put(crl, over=None)
        added = uow.authorities.get(made.id)
        details: dict[str, Json] = {
            "key_type": str(added.key_type),
            "key_ref": added.key_ref,
            "upstream": added.upstream,
            "not_before": _time(added.not_before),
            "not_after": _time(added.not_after),
            "published_sequence": added.published_sequence,
        }
        self._record(uow, "authority.prepare", added, reason, call, details)
        return added

    def activate(
        self,
        uow: UnitOfWork,
        look: Look,
        authority: Authority,
        gate: Gate,
        reason: str,
        call: Call,
        *,
        forced: bool = False,
        past_deadline: bool = False,
        chain: tuple[bytes, ...] | None = None,
    ) -> Authority:
        """Sign with `authority` from now on. `chain`: what is sent after its leaves, where that changes with this."""
        uow.authorities.expect(look.revision)
        before = look.active(authority.kind)
        if before is not None:
            uow.authorities.compare_and_swap(before, replace(before, state=AuthorityState.OLD, retired_at=uow.now))
        now_active = authority.activated(uow.now)
        if chain is not None:
            now_active = replace(now_active, chain=chain)
        uow.authorities.compare_and_swap(authority, now_active)
        details: dict[str, Json] = {
            "replaces": None if before is None else before.id,
            "forced": forced,
            "past_deadline": past_deadline,
            "cross_signed": chain is not None,
            "gate": gate_details(gate),
        }
        self._record(uow, "authority.activate", now_active, reason, call, details)
        return now_active

    def drop(self, uow: UnitOfWork, look: Look, authority: Authority, reason: str, call: Call) -> None:
        """Out of the bundle, for good. Raises Conflict, too, if more was signed below it since the look."""
        uow.authorities.expect(look.revision)
        _unvouch(uow, look, authority)
        uow.authorities.remove(authority.id)
        uow.crls.remove(authority.id)
        last = uow.certificates.latest_not_after(authority_id=authority.id)
        if last is not None and last > look.fleet.last_leaf.get(authority.id, authority.created_at):
            raise Conflict(f"what authority {authority.id} issued", _time(last))
        self._record(uow, "authority.drop", authority, reason, call, {"key_ref": authority.key_ref})

    def taint(self, uow: UnitOfWork, look: Look, authority: Authority, call: Call) -> Authority:
        """What it issued is to be replaced; it signs nothing but CRLs and OCSP answers any more."""
        uow.authorities.expect(look.revision)
        _unvouch(uow, look, authority)
        tainted = replace(authority, tainted=True)
        uow.authorities.compare_and_swap(authority, tainted)
        self._record(uow, "authority.taint", tainted, "", call, _live(uow, authority))
        return tainted

    def revoke(self, uow: UnitOfWork, look: Look, authority: Authority, call: Call) -> Authority:
        """Out of the bundle at once: nothing that it issued is accepted any more."""
        uow.authorities.expect(look.revision)
        _unvouch(uow, look, authority)
        revoked = replace(authority, revoked=True)
        uow.authorities.compare_and_swap(authority, revoked)
        self._record(uow, "authority.revoke", revoked, "", call, _live(uow, authority))
        return revoked

    def _record(
        self, uow: UnitOfWork, action: str, slot: Authority, reason: str, call: Call, details: Mapping[str, Json]
    ) -> None:
        actor, request_id = call
        event = self._events.make(
            uow.now,
            action,
            actor,
            Target("authority", slot.id),
            reason=reason,
            request_id=request_id,
            details={
                "kind": str(slot.kind),
                "state": str(slot.state),
                "tainted": slot.tainted,
                "revoked": slot.revoked,
                **details,
            },
        )
        uow.audit.append(event)


def gate_details(gate: Gate) -> dict[str, Json]:
    """The figures of a gate, and who would be, or is, cut off."""
    return {
        "open": gate.open,
        "sequence": gate.sequence,
        "total": gate.total,
        "acked": gate.acked,
        "waits_until": None if gate.waits_until is None else _time(gate.waits_until),
        "reasons": gate.reasons,
        "stragglers": [
            {
                "agent_id": str(one.agent_id),
                "stream": one.stream_id,
                "pid": one.pid,
                "path": one.path,
                "spiffe_ids": one.spiffe_ids,
                "why": str(one.lag),
                "detail": one.detail,
                "sequence": one.sequence,
                "last_seen": None if one.last_seen is None else _time(one.last_seen),
            }
            for one in gate.stragglers[:MAX_NAMED]
        ],
        "stragglers_total": len(gate.stragglers),
    }


def _unvouch(uow: UnitOfWork, look: Look, authority: Authority) -> None:
    """Whoever this authority vouches for no longer sends its cross certificate: it is trusted no more."""
    for one in look.slots:
        if one.id != authority.id and vouched_by(one) == authority.id:
            uow.authorities.compare_and_swap(one, replace(one, chain=()))


def _live(uow: UnitOfWork, authority: Authority) -> dict[str, Json]:
    last = uow.certificates.latest_not_after(authority_id=authority.id)
    return {"last_certificate_expires": None if last is None else _time(last)}


def _time(moment: datetime) -> str:
    """UTC with a Z (RFC 3339)."""
    return moment.isoformat().replace("+00:00", "Z")

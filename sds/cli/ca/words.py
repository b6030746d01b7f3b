"""How authorities, gates and stragglers read for people."""

from __future__ import annotations

from datetime import datetime

from sds.cli.text import count, moment, rough, short
from sds.client.authorities import Authority, Gate, Straggler

ID_SHOWN = 12
"""Characters of an ID in a table; any unique beginning may be typed."""
LISTED = 10
"""Stragglers that are named one by one for people; JSON has more."""


def name(authority_id: str) -> str:
    return authority_id[:ID_SHOWN]


def state(authority: Authority) -> str:
    marks = [word for word, is_so in (("tainted", authority.tainted), ("revoked", authority.revoked)) if is_so]
    return ", ".join([authority.state, *marks])


def progress(gate: Gate, now: datetime) -> str:
    """``5 of 7 have bundle 12``; and until when those are waited for who cannot say so."""
    if gate.waits_until is not None and gate.waits_until > now:
        waits = f"published at least {rough(gate.waits_until - now)} longer for who cannot acknowledge"
    else:
        waits = ""
    acked = f"{gate.acked} of {gate.total} have bundle {gate.sequence}" if gate.total else ""
    return "; ".join(filter(None, (acked, waits))) or f"bundle {gate.sequence} is published, and nobody is waited for"


def straggler(one: Straggler, now: datetime) -> str:
    """``spiffe://.../node-7 pid 4711 /usr/bin/envoy (spiffe://.../web): rejected: bad certificate``."""
    who = [one.agent_id]
    if one.stream_id:
        who.append(f"pid {one.pid} {one.path or '-'}")
    if one.spiffe_ids:
        who.append(f"({', '.join(one.spiffe_ids)})")
    why = f"{one.why}: {short(one.detail)}" if one.detail else one.why
    heard = "" if one.last_seen is None else f", agent last heard of {rough(now - one.last_seen)} ago"
    return f"{' '.join(who)}: {why}; has bundle {one.sequence}{heard}"


def stragglers(gate: Gate, now: datetime) -> list[str]:
    """One line each, and how many more there are."""
    lines = [straggler(one, now) for one in gate.stragglers[:LISTED]]
    more = gate.stragglers_total - len(lines)
    return [*lines, f"and {count(more, 'other')}"] if more else lines


def next_step(authority: Authority, now: datetime) -> str:
    """What happens with it next, by the schedule."""
    if authority.gate is not None:
        return ("gate open: " if authority.gate.open else "gate closed: ") + progress(authority.gate, now)
    if authority.state == "active" and not authority.sound:
        return "signs no more: the next one does as soon as its gate is open"
    if authority.successor_due is not None:
        due = authority.successor_due
        return f"successor made {moment(due.prepare, now)}, signs from {moment(due.activate, now)}"
    if authority.kept_until is not None:
        return f"dropped {moment(authority.kept_until, now)}"
    return "-"

"""What is worth a notice, and how much so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sds.notices.facts import AgentFact, AuthorityFact, EntryFact, Facts, GrantFact, SecretFact, SidecarFact, TokenFact
from sds.notices.notice import Finding, Kind, line

_DAY, _HOUR, _MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
LAST_SHARE = 4
"""A lead time counts if it is at most this part of a life: what is renewed at its half is healthy before."""
AUTHORITY_SHARE = 8
"""Authorities are replaced later in their lives."""
SHOWN = 5
"""Names of resources in one text."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Lead times, longest first, make stages; the last of them is urgent, and so is what has ended already.

    `urgent`: the kinds that may be urgent. `unheld`: also certificates of identities that no stream has now.
    """

    certificates: tuple[timedelta, ...] = (_DAY, _HOUR, 10 * _MINUTE)
    authorities: tuple[timedelta, ...] = (30 * _DAY, 7 * _DAY, _DAY)
    secrets: tuple[timedelta, ...] = (30 * _DAY, 7 * _DAY, _DAY)
    tokens: tuple[timedelta, ...] = (7 * _DAY, _DAY)
    unheld: bool = True
    unused: timedelta = 30 * _DAY
    stale: timedelta = 30 * _DAY
    silent: tuple[timedelta, ...] = (_HOUR, _DAY)
    behind: timedelta = 15 * _MINUTE
    problem: timedelta = 15 * _MINUTE
    urgent: frozenset[Kind] = frozenset(
        {Kind.CERTIFICATE, Kind.AUTHORITY, Kind.SECRET_EXPIRY, Kind.AGENT_SILENT, Kind.SIDECAR_REJECTS}
    )


def findings(facts: Facts, policy: Policy, now: datetime) -> Iterator[Finding]:
    """Everything that is worth a notice at `now`; of one kind and subject there is one."""
    for entry in facts.entries:
        yield from _entry(entry, policy, now)
    for authority in facts.authorities:
        yield from _authority(authority, policy, now)
    for secret in facts.secrets:
        yield from _secret(secret, policy, now)
    for grant in facts.grants:
        yield from _grant(grant, policy, now)
    for agent in facts.agents:
        yield from _agent(agent, policy, now)
    for sidecar in facts.sidecars:
        yield from _sidecar(sidecar, policy, now)
    for token in facts.tokens:
        yield from _token(token, policy, now)


def stages(leads: Sequence[timedelta], lifetime: timedelta, share: int = LAST_SHARE) -> tuple[timedelta, ...]:
    """The lead times that fit a lifetime, longest first; at least one, for what lives for hours."""
    most = lifetime / share
    return tuple(sorted({lead for lead in leads if lead <= most}, reverse=True)) or (most,)


def stage_of(leads: Sequence[timedelta], left: timedelta) -> int | None:
    """How far `left` is below the lead times: 0 below the first alone, one more than their number if all is over.

    None: not even the first is reached.
    """
    reached = sum(left <= lead for lead in leads) + (left <= timedelta(0))
    return reached - 1 if reached else None


def _ending(
    policy: Policy, kind: Kind, leads: Sequence[timedelta], left: timedelta, *, may_be_urgent: bool = True
) -> tuple[int, bool] | None:
    """The stage and whether it is urgent; None before all of them."""
    stage = stage_of(leads, left)
    if stage is None:
        return None
    return stage, may_be_urgent and kind in policy.urgent and stage >= len(leads) - 1


def _entry(fact: EntryFact, policy: Policy, now: datetime) -> Iterator[Finding]:
    """Not renewed; or, once that is old, stale; or never used. One that ends by itself is not to be renewed."""
    if fact.ends_at is not None and fact.ends_at <= max(now, fact.not_after or now):
        return
    used = max((time for time in (fact.used_at, fact.not_before) if time is not None), default=None)
    if used is None:
        if now - fact.created_at >= policy.unused:
            text = f"{fact.spiffe_id}: entry {fact.id} was never used"
            yield Finding(Kind.ENTRY_UNUSED, fact.id, line(text), fact.owner, due_at=fact.created_at)
        return
    if now - used >= policy.stale and not fact.holders:
        text = f"{fact.spiffe_id}: entry {fact.id} got no certificate and no token for long"
        yield Finding(Kind.ENTRY_STALE, fact.id, line(text), fact.owner, due_at=used)
        return
    if fact.not_after is None or fact.not_before is None or not (fact.holders or policy.unheld):
        return
    leads = stages(policy.certificates, fact.not_after - fact.not_before)
    held = fact.holders > 0
    found = _ending(policy, Kind.CERTIFICATE, leads, fact.not_after - now, may_be_urgent=held)
    if found is not None:
        who = (
            f"held by {fact.holders} sidecars" if fact.holders > 1 else "held by 1 sidecar" if held else "held by none"
        )
        text = f"{fact.spiffe_id}: the newest certificate of entry {fact.id} is not renewed ({who})"
        yield Finding(Kind.CERTIFICATE, fact.id, line(text), fact.owner, *found, due_at=fact.not_after)


def _authority(fact: AuthorityFact, policy: Policy, now: datetime) -> Iterator[Finding]:
    leads = stages(policy.authorities, fact.not_after - fact.not_before, AUTHORITY_SHARE)
    found = _ending(policy, Kind.AUTHORITY, leads, fact.not_after - now)
    if found is not None:
        text = f"the {fact.kind} authority {fact.id} is not replaced, and with it ends all that it issued"
        yield Finding(Kind.AUTHORITY, fact.id, line(text), "", *found, due_at=fact.not_after)


def _secret(fact: SecretFact, policy: Policy, now: datetime) -> Iterator[Finding]:
    if fact.not_after is not None:
        since = fact.changed_at or fact.created_at
        lifetime = max(fact.not_after - since, timedelta(seconds=1))
        # One that is renewed by itself is late only when little of its life is left, however long that is.
        leads = stages((lifetime / LAST_SHARE / LAST_SHARE,) if fact.renewed else policy.secrets, lifetime)
        found = _ending(policy, Kind.SECRET_EXPIRY, leads, fact.not_after - now)
        if found is not None:
            text = f"the value of the secret {fact.name} ends, and no other has taken its place"
            yield Finding(Kind.SECRET_EXPIRY, fact.name, line(text), fact.owner, *found, due_at=fact.not_after)
    if fact.rotate_every is not None and not fact.renewed and fact.changed_at is not None:
        due = fact.changed_at + fact.rotate_every
        if due <= now:
            text = f"the secret {fact.name} is older than its rotation policy allows"
            yield Finding(Kind.SECRET_ROTATION, fact.name, line(text), fact.owner, due_at=due)
    if fact.problem and fact.problem_since is not None and now - fact.problem_since >= policy.problem:
        text = f"the secret {fact.name} cannot be had as it should be: {fact.problem}"
        yield Finding(Kind.SECRET_PROBLEM, fact.name, line(text), fact.owner, due_at=fact.problem_since)


def _grant(fact: GrantFact, policy: Policy, now: datetime) -> Iterator[Finding]:
    what = f"the grant {fact.id} of the secret {fact.secret} to {fact.subject}"
    if fact.used_at is None:
        if now - fact.created_at >= policy.unused:
            yield Finding(
                Kind.GRANT_UNUSED, fact.id, line(f"{what} was never used"), fact.owner, due_at=fact.created_at
            )
    elif now - fact.used_at >= policy.stale:
        yield Finding(Kind.GRANT_STALE, fact.id, line(f"{what} is not used"), fact.owner, due_at=fact.used_at)


def _agent(fact: AgentFact, policy: Policy, now: datetime) -> Iterator[Finding]:
    times = sorted(policy.silent)
    silence = now - fact.heard_at
    reached = sum(silence >= time for time in times)
    if reached:
        over = "; its own certificate has ended, so it must attest anew" if fact.not_after <= now else ""
        text = f"{fact.spiffe_id} is silent{over}"
        urgent = Kind.AGENT_SILENT in policy.urgent and reached == len(times)
        yield Finding(Kind.AGENT_SILENT, fact.spiffe_id, line(text), "", reached - 1, urgent, fact.heard_at)


def _sidecar(fact: SidecarFact, policy: Policy, now: datetime) -> Iterator[Finding]:
    subject = f"{fact.agent_id}#{fact.stream_id}"
    where = f"{fact.workload} at {fact.agent_id}"
    if fact.rejected:
        text = f"{where} rejects {_names(fact.rejected)}: {fact.detail or 'it does not say why'}"
        urgent = Kind.SIDECAR_REJECTS in policy.urgent
        yield Finding(Kind.SIDECAR_REJECTS, subject, line(text), fact.owner, 0, urgent)
    if fact.behind and fact.behind_since is not None and now - fact.behind_since >= policy.behind:
        text = f"{where} has not acknowledged {_names(fact.behind)}"
        yield Finding(Kind.SIDECAR_BEHIND, subject, line(text), fact.owner, due_at=fact.behind_since)


def _token(fact: TokenFact, policy: Policy, now: datetime) -> Iterator[Finding]:
    leads = stages(policy.tokens, fact.expires_at - fact.created_at)
    found = _ending(policy, Kind.TOKEN, leads, fact.expires_at - now)
    if found is not None and fact.expires_at > now:  # whoever uses it notices the end, and nobody must undo it
        text = f"the API token {fact.name} ({fact.id}) ends"
        yield Finding(Kind.TOKEN, fact.id, line(text), "", *found, due_at=fact.expires_at)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more

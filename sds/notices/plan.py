"""From what is found to what people are told: notices begin, rise, end; and which of them are to be sent now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sds.notices.notice import Channel, Finding, Kind, Notice, channel_of
from sds.notices.recipients import Recipients

_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """`begun` are new; `changed` replace what stood. `left_out`: findings beyond the most that is kept."""

    begun: tuple[Notice, ...] = ()
    changed: tuple[Notice, ...] = ()
    left_out: int = 0


def reconcile(
    standing: Iterable[Notice],
    findings: Iterable[Finding],
    recipients: Recipients,
    now: datetime,
    new_id: Callable[[], str],
    most: int,
    unsure: frozenset[Kind] = frozenset(),
) -> Reconciled:
    """What has changed against the notices that stand (not closed).

    `unsure`: kinds that could not be looked at; their notices stay as they are. No more than `most` stand at once; what
    stands already goes before what is new, so that none comes and goes by turns.
    """
    left = {notice.key: notice for notice in standing}
    room = most - len(left)
    begun: list[Notice] = []
    changed: list[Notice] = []
    out = 0
    for finding in _worst_first(findings):
        if finding.kind in unsure:
            continue
        for recipient in recipients.of(finding.owner):
            old = left.pop((finding.kind, finding.subject, recipient), None)
            if old is not None:
                new = _again(old, finding, now)
                changed += [new] if new != old else []
            elif len(begun) < room:
                begun.append(_begin(new_id(), finding, recipient, now))
            else:
                out += 1
    for old in left.values():
        new = old if old.kind in unsure else _over(old, recipients, now)
        changed += [new] if new != old else []
    return Reconciled(tuple(begun), tuple(changed), out)


def _worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """By subject, so that equal states give equal results; of two findings of one subject the first counts."""
    unique: dict[tuple[Kind, str], Finding] = {}
    for finding in findings:
        unique.setdefault((finding.kind, finding.subject), finding)
    return sorted(unique.values(), key=lambda each: (not each.urgent, -each.stage, each.kind, each.subject))


def _begin(notice_id: str, finding: Finding, recipient: str, now: datetime) -> Notice:
    return Notice(
        id=notice_id,
        kind=finding.kind,
        subject=finding.subject,
        recipient=recipient,
        text=finding.text,
        owner=finding.owner,
        stage=finding.stage,
        urgent=finding.urgent,
        due_at=finding.due_at,
        first_seen_at=now,
        changed_at=now,
    )


def _again(old: Notice, finding: Finding, now: datetime) -> Notice:
    """The notice as it is now. One that was over and is back before that was told goes on as if nothing had been.

    Another due time at a lower stage is another case of the same thing, of which nobody knows yet.
    """
    told = -1 if finding.stage < old.told and finding.due_at != old.due_at else old.told
    new = replace(
        old,
        text=finding.text,
        owner=finding.owner,
        stage=finding.stage,
        urgent=finding.urgent,
        due_at=finding.due_at,
        told=told,
        ended_at=None,
    )
    return replace(new, changed_at=now) if new.waiting and not (old.waiting and old.ended_at is None) else new


def _over(old: Notice, recipients: Recipients, now: datetime) -> Notice:
    """Over: whoever was told is told that, too; nobody is who may not be written to any more."""
    closed = old.told < 0 or not recipients.reaches(old.recipient)
    if old.ended_at is not None:
        return replace(old, closed=True) if closed else old
    return replace(old, ended_at=now, closed=closed, changed_at=now)


@dataclass(frozen=True, slots=True)
class Daily:
    """Once a day, so many minutes after midnight UTC."""

    minute: int

    def slot(self, now: datetime) -> datetime:
        """The last time at or before `now`."""
        today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(minutes=self.minute)
        return today if today <= now else today - _DAY


@dataclass(frozen=True, slots=True)
class Every:
    """At regular times, the same on all replicas and after a restart."""

    interval: timedelta

    def slot(self, now: datetime) -> datetime:
        """The last time at or before `now`."""
        return now - (now - _EPOCH) % self.interval


Digest = Daily | Every


class Mode(StrEnum):
    """Why a message is sent."""

    DIGEST = "digest"
    URGENT = "urgent"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to be sent now."""

    recipient: str
    mode: Mode
    notices: tuple[Notice, ...]


def deliveries(
    standing: Iterable[Notice],
    recipients: Recipients,
    last_sent: Mapping[str, datetime],
    digest: Digest,
    pause: timedelta,
    now: datetime,
    most: int,
) -> tuple[Delivery, ...]:
    """What is to be sent at `now`, at most one message to each recipient, of at most `most` notices to a webhook.

    A digest is due when something has waited for it since before its last time, however long ago that was: none is
    lost to a server that was down. What is urgent does not wait for it, but for `pause` after the last message.
    """
    by_recipient: dict[str, list[Notice]] = {}
    for notice in standing:
        if notice.waiting and recipients.reaches(notice.recipient):
            by_recipient.setdefault(notice.recipient, []).append(notice)
    slot = digest.slot(now)
    found: list[Delivery] = []
    for recipient, waiting in sorted(by_recipient.items()):
        if any(one.retry_at is not None and one.retry_at > now for one in waiting):
            continue
        chosen = sorted(waiting, key=lambda one: (one.kind, -one.stage, one.subject))
        mode = Mode.DIGEST
        if not any(one.changed_at <= slot for one in chosen):
            chosen, mode = [one for one in chosen if one.urgent], Mode.URGENT
            last = last_sent.get(recipient)
            if not chosen or (last is not None and last <= now < last + pause):
                continue
        cut = most if channel_of(recipient) is Channel.WEBHOOK else len(chosen)
        found.append(Delivery(recipient, mode, tuple(chosen[:cut])))
    return tuple(found)


def delivered(current: Notice, sent: Notice, now: datetime) -> Notice:
    """The notice as it stands, `current`, after `sent`, what it was when the message was made, was taken over.

    Both may differ: what ended meanwhile is still to be told, and so is what came back while its end was told.
    """
    back = sent.ended_at is not None and current.ended_at is None
    return replace(
        current,
        told=-1 if back else sent.stage,
        sent_at=now,
        closed=current.ended_at is not None and sent.ended_at is not None,
        attempts=0,
        retry_at=None,
        problem="",
    )


def failed(current: Notice, problem: str, attempts: int, retry_at: datetime | None) -> Notice:
    """The notice after its message could not be sent; `retry_at` None: it was given up.

    What is given up counts as told, so that the next stage, or another case, tries anew; its problem stays to be seen.
    """
    if retry_at is not None:
        return replace(current, attempts=attempts, retry_at=retry_at, problem=problem)
    over = current.ended_at is not None
    return replace(current, told=current.stage, closed=over, attempts=0, retry_at=None, problem=problem)

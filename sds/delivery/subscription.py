"""The names one stream asked for and what became of each. Pure: no clock, no wire, no decision about other streams.

What goes out is decided only when the transport can take it (`take`), so a slow reader is sent the newest version and
nothing in between, and nonces are numbered in the order in which the client reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sds.delivery.errors import InvalidRequest, LimitExceeded
from sds.delivery.messages import Acked, Effect, Nacked, Reaffirmed, Refused, Send
from sds.delivery.resource import Resource
from sds.delivery.view import View, tolerated


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stream may ask for. Beyond it the stream is ended with a clear text."""

    names: int = 1000
    name_length: int = 2048  # characters; the longest SPIFFE ID fits

    def check(self, names: Iterable[str], total: int) -> None:
        """Raises InvalidRequest for a name too long, LimitExceeded when `total` names are too many."""
        if any(len(name) > self.name_length for name in names):
            raise InvalidRequest(f"a resource name is longer than {self.name_length} characters")
        if total > self.names:
            raise LimitExceeded(f"more than {self.names} resource names on one stream")


class Slot:
    """One name's subscription. Times are the monotonic seconds that the caller of the core handed in.

    `sent_sequence` and `acked_sequence`: the newest sequence of our own bundle of which it is known that what was sent,
    or ACKed, is its content. They rise without a send when a newer bundle has the same content; 0: no bundle of ours.
    """

    __slots__ = (
        "acked_at",
        "acked_sequence",
        "acked_serial",
        "acked_version",
        "answered",
        "first_number",
        "held",
        "nack_detail",
        "nacked_version",
        "name",
        "nonce",
        "opening",
        "owed",
        "pending",
        "refusal",
        "sent_at",
        "sent_sequence",
        "sent_serial",
        "sent_version",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.opening = False  # asked for with an empty nonce
        self.held = False  # the client came with something under this name
        self.owed = True  # the client waits for an answer, even if it is one that it had before
        self.pending: Resource | None = None  # what goes out next, while queued
        self.refusal = ""  # the reason last told, empty while the name resolves
        self.nonce = ""  # of the newest response
        self.first_number = 0  # of the first response in this subscription, 0: none yet
        self.answered = False  # the newest response was ACKed or NACKed
        self.sent_version = ""
        self.sent_serial = ""
        self.sent_sequence = 0
        self.sent_at = 0.0
        self.acked_version = ""
        self.acked_serial = ""
        self.acked_sequence = 0
        self.acked_at = 0.0
        self.nacked_version = ""
        self.nack_detail = ""

    def reaffirm(self, target: Resource) -> bool:
        """`target` is current: what has its content counts for its sequence too. Whether that said anything new."""
        news = False
        if target.version == self.sent_version and target.sequence != self.sent_sequence:
            self.sent_sequence, news = target.sequence, True
        if target.version == self.acked_version and target.sequence != self.acked_sequence:
            self.acked_sequence, news = target.sequence, True
        return news


class Subscription:
    """All slots of a stream, the queue of those with something to send, and the nonces in flight."""

    __slots__ = ("_by_nonce", "_last_nonce", "_number", "_prefix", "_queue", "_tells_absence", "slots")

    def __init__(self, nonce_prefix: str, *, tells_absence: bool) -> None:
        """`nonce_prefix` sets this stream's nonces apart from those of every other; `tells_absence` is Delta's way."""
        self.slots: dict[str, Slot] = {}
        self._queue: dict[str, Slot] = {}
        self._by_nonce: dict[str, Slot] = {}
        self._prefix = nonce_prefix
        self._number = 0
        self._last_nonce = ""
        self._tells_absence = tells_absence

    def ask(self, name: str, *, opening: bool = False, held: bool = False) -> None:
        """(Re)subscribe: whatever `name` resolves to now will be sent, whether the client had it before or not."""
        slot = self.slots.get(name)
        if slot is None:
            slot = self.slots[name] = Slot(name)
        slot.owed = True
        slot.opening = slot.opening or opening
        slot.held = slot.held or held

    def forget(self, name: str) -> None:
        """Unsubscribe; nothing of `name` is sent any more."""
        slot = self.slots.pop(name, None)
        if slot is not None:
            self._queue.pop(name, None)
            self._by_nonce.pop(slot.nonce, None)

    def settle(self, names: Iterable[str], view: View, *, spiffe_validator: bool) -> list[Effect]:
        """Compare `names` (all subscribed) with `view`; queue what the client lacks, unqueue what it no longer does."""
        effects: list[Effect] = []
        for name in names:
            slot = self.slots[name]
            target = view.resolve(name, spiffe_validator=spiffe_validator)
            if target is None:
                if view.awaits(name):
                    self._hold_back(slot)
                    continue
                effects.extend(_refuse(slot, view.why(name)))
                if slot.held or slot.sent_version:  # clients keep what they have unless they are given something else
                    target = view.withdrawn(name, spiffe_validator=spiffe_validator)
            else:
                slot.refusal = ""
            if target is None:
                self._withhold(slot, silently=view.keeps(name))
                continue
            if slot.reaffirm(target):
                effects.append(Reaffirmed(name, target.version, target.sequence))
            if slot.owed or target.version not in {slot.sent_version, slot.nacked_version}:
                slot.pending = target
                self._queue[name] = slot
            else:
                slot.pending = None
                self._queue.pop(name, None)
        return effects

    def _hold_back(self, slot: Slot) -> None:
        """What the name stands for is not known yet: the client is not told that there is nothing, and waits."""
        slot.pending = None
        self._queue.pop(slot.name, None)

    def _withhold(self, slot: Slot, *, silently: bool) -> None:
        """The name resolves to nothing: Delta says so once, the state of the world has no words for it.

        `silently`: only to who asks for it now; who has it may keep it.
        """
        slot.pending = None
        if self._tells_absence and (slot.owed or (slot.sent_version and not silently)):
            self._queue[slot.name] = slot
        else:
            self._queue.pop(slot.name, None)

    @property
    def ready(self) -> bool:
        """Whether `take` has something."""
        return bool(self._queue)

    def take(self, tick: float) -> Send | None:
        """The next response, counted as sent at `tick`; None when the client has all that it can have."""
        if not self._queue:
            return None
        slot = self._queue.pop(next(iter(self._queue)))
        resource, slot.pending = slot.pending, None
        self._by_nonce.pop(slot.nonce, None)
        self._number += 1
        slot.nonce = self._last_nonce = f"{self._prefix}{self._number}"
        self._by_nonce[slot.nonce] = slot
        slot.first_number = slot.first_number or self._number
        slot.owed = slot.answered = False
        slot.sent_version, slot.sent_serial = (resource.version, resource.serial) if resource else ("", "")
        slot.sent_sequence, slot.sent_at = resource.sequence if resource else 0, tick
        return Send(slot.name, resource, slot.nonce)

    def read_up_to(self, nonce: str) -> int | None:
        """How many responses the client had read when it answered `nonce`; None where that is stale or not ours.

        A nonce is current if it is the newest of its name, or the newest of the stream (its name may be forgotten).
        """
        if nonce != self._last_nonce and nonce not in self._by_nonce:
            return None
        return int(nonce[len(self._prefix) :])

    def acknowledge(self, nonce: str, error: str | None, tick: float) -> list[Effect]:
        """Take the client's word on the response `nonce`. Its first word counts, but a NACK may follow an ACK.

        After a NACK Envoy repeats the nonce without `error_detail` when its names change; that is no ACK.
        """
        slot = self._by_nonce.get(nonce)
        if slot is None or (slot.answered and error is None):
            return []
        slot.answered = True
        if error is not None:
            slot.nacked_version, slot.nack_detail = slot.sent_version, error
            return [Nacked(slot.name, slot.sent_version, error)]
        slot.acked_version, slot.acked_serial, slot.acked_at = slot.sent_version, slot.sent_serial, tick
        slot.acked_sequence = slot.sent_sequence
        return [Acked(slot.name, slot.sent_version, tick - slot.sent_at)]


def _refuse(slot: Slot, reason: str) -> list[Effect]:
    """Tell the operator once that the name cannot be given; a name asked for out of habit is no news."""
    if slot.refusal == reason:
        return []
    slot.refusal = reason
    return [] if tolerated(slot.name) else [Refused(slot.name, reason)]

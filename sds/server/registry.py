"""Everything that decides what an agent may have, in memory: entries by parent, agents and their bans, the bundle.

Written by one follower of the change feed, read by every call. It is level-triggered: a change names what to read
again, never how it changed, so that applying a change twice or late does no harm. No I/O here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import TrustBundle
from sds.server.expiries import Expiries
from sds.server.facts import Facts, Refresh
from sds.server.parent import MAX_HISTORY, Parent
from sds.server.revocation.blocked import Blocked
from sds.server.watch import Pending, Update, Watcher
from sds.store.records import AgentRecord


class Registry:
    """Not for several threads: the event loop's own."""

    def __init__(self, facts: Facts, *, now: datetime, max_pending: int = MAX_HISTORY) -> None:
        self._max_pending = max_pending
        self._epoch = facts.epoch
        self._revision = facts.revision
        self._bundle = facts.bundle
        self._on_agent: list[Callable[[SpiffeId, AgentRecord | None], None]] = []
        self._on_entry: list[Callable[[str | None], None]] = []
        self._parents: dict[SpiffeId, Parent] = {}
        self._load(facts, now)

    # Reading

    @property
    def epoch(self) -> str:
        return self._epoch

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def bundle(self) -> TrustBundle:
        return self._bundle

    @property
    def blocked(self) -> Blocked:
        return self._blocked

    @property
    def bundles(self) -> Mapping[TrustDomain, TrustBundle]:
        """Our own, and those of all trust domains that we federate with."""
        return {**self._federated, self._bundle.trust_domain: self._bundle}

    def federating(self) -> Counter[TrustDomain]:
        """How many entries federate with each trust domain, known or not."""
        return Counter(domain for entry in self._entries.values() for domain in entry.spec.federates_with)

    def entry(self, entry_id: str) -> RegistrationEntry | None:
        """None, too, for one that is blocked."""
        entry = self._entries.get(entry_id)
        return None if entry is None or self._blocked.entry(entry) else entry

    def entries_of(self, agent_id: SpiffeId) -> Iterable[RegistrationEntry]:
        parent = self._parents.get(agent_id)
        return () if parent is None else tuple(parent.entries.values())

    def agent(self, agent_id: SpiffeId) -> AgentRecord | None:
        return self._agents.get(agent_id)

    def agents(self) -> Iterable[AgentRecord]:
        return self._agents.values()

    def watching(self, agent_id: SpiffeId) -> int:
        """How many watches of this agent are open."""
        return len(parent.watchers) if (parent := self._parents.get(agent_id)) is not None else 0

    @property
    def watchers(self) -> int:
        return sum(len(parent.watchers) for parent in self._parents.values())

    @property
    def agents_watching(self) -> int:
        return sum(bool(parent.watchers) for parent in self._parents.values())

    def entries(self) -> Iterable[RegistrationEntry]:
        """All of them, blocked ones included."""
        return self._entries.values()

    @property
    def entry_count(self) -> int:
        return len(self._entries)

    # Watching

    def on_agent(self, listener: Callable[[SpiffeId, AgentRecord | None], None]) -> None:
        """Call `listener` with every agent that changes; None when it was deleted."""
        self._on_agent.append(listener)

    def on_entry(self, listener: Callable[[str | None], None]) -> None:
        """Call `listener` with every entry that changes, ends, or is blocked or no longer; None: any may have."""
        self._on_entry.append(listener)

    def watch(self, agent_id: SpiffeId, resume_revision: int, epoch: str, *, now: datetime) -> Watcher:
        """What hangs on `agent_id`: a snapshot, or what changed since `resume_revision` where that is still known."""
        parent = self._parent(agent_id)
        watcher = Watcher(agent_id, self._resolve, self._forget, max_pending=self._max_pending)
        parent.watchers.add(watcher)
        known = epoch == self._epoch and parent.floor <= resume_revision <= self._revision and resume_revision > 0
        if not known:
            watcher.reset()
            return watcher
        for entry_id, revision in reversed(parent.touched.items()):
            if revision <= resume_revision:
                break
            watcher.touch(entry_id)
        for entry in parent.entries.values():
            # Expiry is no revision, so it is told again; removing twice does no harm.
            if not entry.live(now) or self._blocked.entry(entry):
                watcher.touch(entry.id)
        watcher.touch_bundle()
        watcher.touch_federated()
        return watcher

    def end_watches(self, reason: str) -> None:
        """End them all: the server is shutting down."""
        for parent in self._parents.values():
            for watcher in parent.watchers:
                watcher.end(reason)

    def _forget(self, watcher: Watcher) -> None:
        parent = self._parents.get(watcher.agent_id)
        if parent is not None:
            parent.watchers.discard(watcher)
            if not parent.watchers and not parent.entries and not parent.touched:
                del self._parents[watcher.agent_id]

    def _resolve(self, watcher: Watcher, pending: Pending) -> Update:
        parent = self._parent(watcher.agent_id)
        names = parent.entries if pending.snapshot else pending.entry_ids or ()
        upserted, removed = [], []
        for name in sorted(names):
            entry = parent.entries.get(name)
            if entry is not None and name not in self._expiries and not self._blocked.entry(entry):
                upserted.append(entry)
            elif not pending.snapshot:
                removed.append(name)
        return Update(
            revision=self._revision,
            epoch=self._epoch,
            snapshot=pending.snapshot,
            upserted=tuple(upserted),
            removed=tuple(removed),
            bundle=self._bundle if pending.bundle else None,
            federated=self._federated_with(parent) if pending.federated else None,
        )

    def _federated_with(self, parent: Parent) -> tuple[TrustBundle, ...]:
        return tuple(self._federated[domain] for domain in sorted(parent.federates_with & self._federated.keys()))

    # Writing: the follower only

    def apply(self, refresh: Refresh, *, now: datetime) -> None:
        """Take over what was read again, and wake whom it concerns."""
        self._revision = max(self._revision, refresh.revision)
        for entry_id, entry in refresh.entries.items():
            self._put(entry_id, entry, now)
        if refresh.bundle is not None and refresh.bundle != self._bundle:
            self._bundle = refresh.bundle
            for parent in self._parents.values():
                for watcher in parent.watchers:
                    watcher.touch_bundle()
        for agent_id, record in refresh.agents.items():
            self._put_agent(agent_id, record)
        if refresh.blocked is not None:
            self._block(refresh.blocked)
        if refresh.federated:
            self._federate(refresh.federated)

    def expire(self, now: datetime) -> None:
        """Take from its watchers what has expired."""
        for entry in self._expiries.due(now):
            self._parent(entry.parent_id).touch(entry.id)
            self._tell_entry(entry.id)

    @property
    def next_expiry(self) -> datetime | None:
        """When `expire` may have something to do again."""
        return self._expiries.next

    def reload(self, facts: Facts, *, now: datetime) -> None:
        """Start over from the whole truth, when the feed can't be followed any more; every watcher gets a snapshot."""
        watchers = [watcher for parent in self._parents.values() for watcher in parent.watchers]
        before = self._agents
        self._parents = {}
        self._load(facts, now)
        for watcher in watchers:
            self._parent(watcher.agent_id).watchers.add(watcher)
            watcher.reset()
        for agent_id in before.keys() | self._agents.keys():
            self._tell(agent_id, self._agents.get(agent_id))
        self._tell_entry(None)

    def _load(self, facts: Facts, now: datetime) -> None:
        self._epoch = facts.epoch
        self._revision = facts.revision
        self._floor = facts.history_floor
        self._bundle = facts.bundle
        self._blocked = facts.blocked
        self._federated = dict(facts.federated)
        self._entries: dict[str, RegistrationEntry] = {}
        self._agents = {record.spiffe_id: record for record in facts.agents}
        self._expiries = Expiries(self._entries)
        for entry in facts.entries:
            self._entries[entry.id] = entry
            self._parent(entry.parent_id).entries[entry.id] = entry
            self._expiries.add(entry, now)
        for past in facts.history:
            self._parent(past.parent_id).remember(past.entry_id, past.revision)

    def _put(self, entry_id: str, entry: RegistrationEntry | None, now: datetime) -> None:
        old = self._entries.pop(entry_id, None)
        self._expiries.forget(entry_id)
        concerned = {spec.parent_id for spec in (old, entry) if spec is not None}
        before, after = (() if one is None else one.spec.federates_with for one in (old, entry))
        named = {*before, *after} if before != after or len(concerned) > 1 else set()
        if old is not None:
            del self._parent(old.parent_id).entries[entry_id]
        if entry is not None:
            self._entries[entry_id] = entry
            self._parent(entry.parent_id).entries[entry_id] = entry
            self._expiries.add(entry, now)
        for parent_id in concerned:
            parent = self._parent(parent_id)
            parent.change(entry_id, self._revision)
            for watcher in parent.watchers if named else ():
                watcher.touch_federated()
        self._tell_entry(entry_id)

    def _federate(self, changed: Mapping[TrustDomain, TrustBundle | None]) -> None:
        """Whoever has an entry that names one of them is told all of his; who has none learns nothing."""
        for domain, bundle in changed.items():
            if bundle is None:
                self._federated.pop(domain, None)
            else:
                self._federated[domain] = bundle
        for parent in self._parents.values():
            if parent.watchers and not changed.keys().isdisjoint(parent.federates_with):
                for watcher in parent.watchers:
                    watcher.touch_federated()

    def _block(self, blocked: Blocked) -> None:
        """Entries that a block hides or shows again are told like changed ones; agents look again who they are."""
        before, self._blocked = self._blocked, blocked
        for entry in blocked.changed(before, self._entries.values()):
            self._parent(entry.parent_id).change(entry.id, self._revision)
            self._tell_entry(entry.id)
        if blocked.agent_serials != before.agent_serials:
            for parent in self._parents.values():
                for watcher in parent.watchers:
                    watcher.nudge()

    def _tell_entry(self, entry_id: str | None) -> None:
        for listener in self._on_entry:
            listener(entry_id)

    def _put_agent(self, agent_id: SpiffeId, record: AgentRecord | None) -> None:
        if record is None:
            self._agents.pop(agent_id, None)
        else:
            self._agents[agent_id] = record
        self._tell(agent_id, record)

    def _tell(self, agent_id: SpiffeId, record: AgentRecord | None) -> None:
        parent = self._parents.get(agent_id)
        for watcher in parent.watchers if parent is not None else ():
            watcher.nudge()
        for listener in self._on_agent:
            listener(agent_id, record)

    def _parent(self, agent_id: SpiffeId) -> Parent:
        parent = self._parents.get(agent_id)
        if parent is None:
            parent = self._parents[agent_id] = Parent(floor=self._floor)
        return parent

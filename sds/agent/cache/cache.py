"""What the agent knows, and the views made from it.

Callers with the same selectors form a group; groups that match the same entries share one View object. A change
computes each distinct View once and wakes only the groups whose View is another one then. Used on the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime

from attestation.entry import RegistrationEntry, match
from attestation.selector import Selectors
from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle
from sds.agent.cache.certificates import Certificates
from sds.agent.cache.group import Group, Member
from sds.agent.cache.groups import Groups
from sds.agent.cache.matching import EntryIndex
from sds.agent.cache.showing import Showing
from sds.agent.cache.views import HeldSvid, Views, shown_of
from sds.agent.cache.wanted import NoSecrets, WantedSecrets
from sds.agent.renewal import Attempt, Facts
from sds.clock import Clock
from sds.delivery.view import EMPTY, STANDARD_NAMES, Names


class Cache:
    """Entries, certificates, bundle; and the groups of live callers that look at them."""

    def __init__(
        self, clock: Clock, names: Names = STANDARD_NAMES, nobody: bytes = b"", secrets: WantedSecrets | None = None
    ) -> None:
        self._clock = clock
        self._secrets = secrets or NoSecrets()
        self._wanted: Callable[[], None] = lambda: None
        self._entries: dict[str, RegistrationEntry] = {}
        self._certificates = Certificates()
        self._index = EntryIndex()
        self._groups = Groups(self._entries)
        self._views = Views(self._entries, self._certificates.held, names, nobody, self._secrets)
        self._showing = Showing(self._groups, self._views, self._secrets)
        self._bundle: TrustBundle | None = None
        self.busy: set[str] = set()
        """Entries that are being asked for now; kept by the issuer."""
        self.synced = False
        """Whether the server has told all entries at least once in this run."""
        self._reachable = False

    def on_wanted(self, wanted: Callable[[], None]) -> None:
        """Have `wanted` called, on the loop, when an entry may need a certificate, or need it no more."""
        self._wanted = wanted

    # What there is

    @property
    def entries(self) -> Mapping[str, RegistrationEntry]:
        return self._entries

    @property
    def held(self) -> Mapping[str, HeldSvid]:
        return self._certificates.held

    @property
    def attempts(self) -> Mapping[str, Attempt]:
        return self._certificates.attempts

    @property
    def replace_at(self) -> Mapping[str, datetime]:
        """What is held and to be replaced before its time, by entry ID."""
        return self._certificates.replace_at

    @property
    def bundle(self) -> TrustBundle | None:
        return self._bundle

    def bundles_for(self, entries: Iterable[RegistrationEntry]) -> Mapping[TrustDomain, TrustBundle]:
        """What a caller with these entries verifies by: our own bundle, and those that the entries federate with."""
        own = self._bundle
        return {} if own is None else {**self._views.federated_with(entries), own.trust_domain: own}

    def facts(self) -> Facts:
        """For `renewal.plan`."""
        held = {entry_id: svid.held for entry_id, svid in self.held.items()}
        used, idle_since = self._groups.used, self._groups.idle_since
        return Facts(self._entries, held, self.attempts, used, idle_since, self.busy, self.replace_at)

    def earliest_expiry(self) -> datetime | None:
        """When the first of the certificates in use expires if nothing renews from now."""
        used = [svid.held.not_after for entry_id, svid in self.held.items() if entry_id in self._groups.used]
        return min(used, default=None)

    def member_for(self, entry_id: str) -> Member | None:
        """A local process whose need makes this entry wanted."""
        return self._groups.member_for(entry_id)

    # Callers

    def join(self, selectors: Selectors, member: Member) -> Group:
        """Count `member` among the callers with `selectors`."""
        group = self._groups.get(selectors)
        if group is None:
            group = self._groups.add(selectors)
            self._assign(group, self._index.near(selectors))
            group.view = self._views.of(group.key)
            self._wanted()
        group.members[member.process] = member
        self._secrets.joined(group, member)
        self._showing.refresh()
        return group

    def leave(self, group: Group, member: Member) -> None:
        """`member` is gone, or has other selectors now."""
        self._secrets.left(group, member)
        if group.members.get(member.process) is member:
            del group.members[member.process]
        if not group.members and self._groups.get(group.selectors) is group:
            self._assign(group, ())
            self._groups.remove(group)
            group.view = EMPTY
            self._wanted()
        self._showing.refresh()
        group.stir()

    def want(self, member: Member, group: Group, wake: Callable[[], None], names: Iterable[str]) -> None:
        """The stream, or whoever else is woken by `wake`, wants these names for `member`, and none of those before.

        `group` is the member's. What is no secret's name means nothing here. Raises LimitExceeded.
        """
        self._secrets.want(member, group, wake, names)
        self._showing.refresh()

    async def settled(self, group: Group, seconds: float) -> None:
        """Wait until the server has told the entries, and then at most `seconds` for the group's first certificates.

        Ends as soon as the group has no members any more, or the server cannot be asked.
        """
        while not self.synced and group.members:
            await group.next_stir().wait()
        try:
            async with asyncio.timeout(seconds):
                while group.members and self._reachable and not self._is_settled(group):
                    await group.next_stir().wait()
        except TimeoutError:
            return

    def reach(self, reachable: bool) -> None:
        """Whether the server can be asked now."""
        self._reachable = reachable
        for group in self._groups:
            group.stir()
        self._wanted()

    def _is_settled(self, group: Group) -> bool:
        return all(self._certificates.answered(entry.id) for entry in group.entries)

    # Changes

    def apply(
        self,
        upserted: Iterable[RegistrationEntry],
        removed: Iterable[str] = (),
        *,
        snapshot: bool = False,
        bundle: TrustBundle | None = None,
        federated: tuple[TrustBundle, ...] | None = None,
    ) -> None:
        """Take one update of the watch stream in. `snapshot`: every other entry is gone.

        `federated`: all bundles of other trust domains that there are for these entries; None: as before.
        """
        new = {entry.id: entry for entry in upserted}
        gone = {*removed, *(self._entries if snapshot else ())} - new.keys()
        affected: dict[Group, None] = {}
        for entry_id in gone:
            affected |= dict.fromkeys(self._groups.of(entry_id))
            self._entries.pop(entry_id, None)
            self._index.discard(entry_id)
            self._forget(entry_id)
        for entry in new.values():
            affected |= self._replace_entry(entry)
        touched = gone | new.keys()
        for group in affected:
            self._match_again(group, touched)
        if bundle is not None and bundle != self._bundle:
            self._bundle = bundle
            self._views.trust(bundle)
            affected = dict.fromkeys(self._groups)
        if federated is not None and self._views.federate(federated):
            affected = dict.fromkeys(self._groups)
        if snapshot and not self.synced:
            self.synced = True
            affected = dict.fromkeys(self._groups)
        self._showing.refresh(affected)
        self._wanted()

    def put(self, svids: Mapping[str, HeldSvid]) -> None:
        """New certificates by entry ID; each replaces the former one and its key."""
        affected: dict[Group, None] = {}
        for entry_id, svid in svids.items():
            entry = self._entries.get(entry_id)
            if entry is None or entry.spiffe_id != svid.identity.spiffe_id:
                continue  # deleted, or given to another identity, while it was being signed
            self._certificates.put(entry_id, svid)
            affected |= self._showing.invalidate(entry_id)
        self._showing.refresh(affected)

    def staple(self, answers: Mapping[str, tuple[str, bytes]]) -> None:
        """OCSP answers (DER) by entry ID, each with the serial of the certificate that it is about; b"": none."""
        affected: dict[Group, None] = {}
        for entry_id, (serial, answer) in answers.items():
            if self._certificates.staple(entry_id, serial, answer):
                affected |= self._showing.invalidate(entry_id)
        self._showing.refresh(affected)

    def note(self, attempts: Mapping[str, Attempt]) -> None:
        """What became of asking for these entries; the last good certificates stay."""
        for entry_id, attempt in attempts.items():
            if entry_id in self._entries:
                self._certificates.attempts[entry_id] = attempt
                for group in self._groups.of(entry_id):
                    group.stir()

    def distrust(self, judged: Iterable[str], times: Mapping[str, datetime], urgent: Collection[str]) -> None:
        """Of the held certificates that are `judged` now, those in `times` are to be replaced then, the others not.

        More in `Certificates.distrust`.
        """
        self._certificates.distrust(judged, times, urgent)

    def drop(self, entry_ids: Iterable[str]) -> None:
        """Forget certificates that nobody needs; their keys go with them."""
        affected: dict[Group, None] = {}
        for entry_id in entry_ids:
            affected |= self._forget(entry_id)
        self._showing.refresh(affected)

    def expire(self) -> None:
        """Let go what has ended by itself: certificates and entries past their time."""
        now = self._clock.now()
        affected: dict[Group, None] = {}
        for entry_id in self._certificates.expire(now):
            affected |= self._showing.invalidate(entry_id)
        for entry_id in [i for i in self._groups.used if not self._entries[i].live(now)]:
            for group in self._groups.of(entry_id):
                self._match_again(group, {entry_id})
                affected[group] = None
        self._showing.refresh(affected)

    def show_secrets(self) -> None:
        """What was learnt of secrets shows in the views from now on."""
        self._showing.refresh()

    def clear(self) -> None:
        """Forget entries and certificates: the server serves this agent no more."""
        self.apply((), snapshot=True)

    # Inside

    def _replace_entry(self, entry: RegistrationEntry) -> dict[Group, None]:
        """Store it; the groups whose matching entries may differ now."""
        before = self._groups.of(entry.id)
        held = self.held.get(entry.id)
        if held is not None and held.identity.spiffe_id != entry.spiffe_id:
            self._forget(entry.id)  # nobody is entitled to the former ID any more
        former = self._entries.get(entry.id)
        if former is not None and former.spiffe_id != entry.spiffe_id:
            self._secrets.another(entry.id)
        self._entries[entry.id] = entry
        self._index.put(entry)
        if former is not None and shown_of(former) != shown_of(entry):
            self._showing.invalidate(entry.id)
        return dict.fromkeys((*before, *self._groups.matching(entry, self._clock.now())))

    def _forget(self, entry_id: str) -> dict[Group, None]:
        self._certificates.forget(entry_id)
        self._groups.forget(entry_id)
        return self._showing.invalidate(entry_id)

    def _match_again(self, group: Group, touched: AbstractSet[str]) -> None:
        """Judge the `touched` entries anew; the others match as before."""
        others = [entry for entry in group.entries if entry.id not in touched]
        again = [entry for entry in self._index.near(group.selectors) if entry.id in touched]
        self._assign(group, (*others, *again))

    def _assign(self, group: Group, entries: Iterable[RegistrationEntry]) -> None:
        """Those of `entries` that match are the group's from now on."""
        former_key, now = group.key, self._clock.now()
        self._groups.assign(group, match(entries, group.selectors, now), now)
        self._secrets.assigned(group, former_key, group.key)
        self._views.move(former_key, group.key)

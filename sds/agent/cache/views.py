"""One View for each list of entries that a group of callers matches, kept as long as a group has it and no longer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle
from sds.agent.cache.wanted import WantedSecrets
from sds.agent.renewal import Held
from sds.delivery.view import EMPTY, WAITING, DomainBundle, Identity, Names, Trust, View

Key = tuple[str, ...]
"""The IDs of the matching entries, the default one first."""


_SPARE_TRUSTS = 16


@dataclass(frozen=True, slots=True)
class HeldSvid:
    """A certificate in memory with its key, as `identity` serves it. `authority_id`: who issued it."""

    held: Held
    identity: Identity
    authority_id: str = ""


class Views:
    """Builds views when they are first looked at. A view holds keys.

    `entries` and `held` belong to the cache; whatever is held has its entry.
    """

    __slots__ = (
        "_bundles",
        "_entries",
        "_federated",
        "_held",
        "_names",
        "_nobody",
        "_own",
        "_secrets",
        "_trusts",
        "_users",
        "_views",
    )

    def __init__(
        self,
        entries: Mapping[str, RegistrationEntry],
        held: Mapping[str, HeldSvid],
        names: Names,
        nobody: bytes,
        secrets: WantedSecrets,
    ) -> None:
        """`nobody`: what a client is given in place of a bundle that it may have no more (sds.delivery.view.Trust)."""
        self._entries = entries
        self._held = held
        self._names = names
        self._nobody = nobody
        self._secrets = secrets
        self._own: DomainBundle | None = None
        self._bundles: dict[TrustDomain, TrustBundle] = {}  # of the federated domains, as they came
        self._federated: dict[TrustDomain, DomainBundle] = {}
        self._trusts: dict[frozenset[TrustDomain], Trust] = {}  # by the federated domains that it has
        self._views: dict[Key, View] = {}
        self._users: dict[Key, int] = {}  # how many groups have that key

    def of(self, key: Key) -> View:
        """The same object for the same key until something in it changes."""
        if not key:
            return EMPTY
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = self._build(key)
        return view

    def trust(self, bundle: TrustBundle) -> None:
        """Every view shows this bundle from now on."""
        self._own = _domain_bundle(bundle)
        self._trusts.clear()
        self._views.clear()

    def federated_with(self, entries: Iterable[RegistrationEntry]) -> dict[TrustDomain, TrustBundle]:
        """The bundles of other trust domains that these entries name, as far as they are here."""
        named = {domain for entry in entries for domain in entry.spec.federates_with}
        return {domain: self._bundles[domain] for domain in named & self._bundles.keys()}

    def federate(self, bundles: Collection[TrustBundle]) -> bool:
        """Views show these bundles of other trust domains from now on, each to those whose entries name it.

        Whether that changes anything.
        """
        former, new = self._federated, {bundle.trust_domain: _domain_bundle(bundle) for bundle in bundles}
        changed = {domain for domain in new.keys() | former.keys() if new.get(domain) != former.get(domain)}
        self._federated, self._bundles = new, {bundle.trust_domain: bundle for bundle in bundles}
        self._trusts = {domains: trust for domains, trust in self._trusts.items() if domains.isdisjoint(changed)}
        for key in [key for key in self._views if not changed.isdisjoint(self._named(key))]:
            del self._views[key]
        return bool(changed)

    def forget(self, key: Key) -> None:
        """Something in the view has changed."""
        self._views.pop(key, None)

    def move(self, before: Key, after: Key) -> None:
        """A group that had one key has another now."""
        if before != after:
            self._count(after, +1)
            self._count(before, -1)

    def __len__(self) -> int:
        return len(self._views)

    def _count(self, key: Key, by: int) -> None:
        if not key:
            return
        users = self._users.pop(key, 0) + by
        if users:
            self._users[key] = users
        else:
            self._views.pop(key, None)

    def _build(self, key: Key) -> View:
        """What can be served now. `default` is the first entry's alone: it waits rather than changes.

        Secrets are those of all entries, once there is any identity to go with them.
        """
        held = [entry_id for entry_id in key if entry_id in self._held]
        trust = self._trust_of(key)
        if not held or trust is None:
            return WAITING
        identities = [self._held[entry_id].identity for entry_id in held]
        hints = [self._entries[entry_id].spec.hint for entry_id in held]
        secrets = self._secrets.seen(key)
        return View.build(
            identities,
            trust,
            secrets.resources,
            hints=hints,
            has_default=key[0] in self._held,
            absent=secrets.absent,
        )

    def _trust_of(self, key: Key) -> Trust | None:
        """Our own bundle and those that the entries federate with, and no other: a bundle is a right to be believed."""
        if self._own is None:
            return None
        domains = frozenset(self._named(key) & self._federated.keys())
        trust = self._trusts.get(domains)
        if trust is None:
            if len(self._trusts) > 2 * len(self._views) + _SPARE_TRUSTS:  # mostly of views that are gone
                self._trusts.clear()
            federated = [self._federated[domain] for domain in domains]
            trust = self._trusts[domains] = Trust.build(self._own, federated, self._names, self._nobody)
        return trust

    def _named(self, key: Key) -> set[TrustDomain]:
        """The trust domains that the entries federate with."""
        return {
            domain
            for entry_id in key
            if (entry := self._entries.get(entry_id)) is not None
            for domain in entry.spec.federates_with
        }


def shown_of(entry: RegistrationEntry) -> tuple[object, ...]:
    """What views show of an entry beside its certificate."""
    return (entry.spec.hint, entry.spec.federates_with)


def _domain_bundle(bundle: TrustBundle) -> DomainBundle:
    jwks = bundle.jwks() if bundle.jwt_keys else b""
    return DomainBundle(bundle.trust_domain, bundle.pem(), bundle.crl_pem(), bundle.sequence, jwks)

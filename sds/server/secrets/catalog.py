"""Which secrets there are and who may have them, in memory. Pure; written by the follower, asked by every watch.

What `sds.secrets.grant` says is decided here by look-ups instead of by walking all grants: by exact SPIFFE ID, by each
leading part of its path, and by one of the labels of each grant that names labels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from attestation.entry import EntrySpec
from attestation.spiffe_id import SpiffeId
from sds.secrets.grant import Below, Exactly, Grant, Labelled, covers
from sds.secrets.secret import Secret

_Place = tuple[str, str]  # of a SPIFFE ID: trust domain and path; or of a label: name and value


class GrantIndex:
    """The grants of one secret."""

    __slots__ = ("_below", "_exactly", "_grants", "_labelled")

    def __init__(self, grants: Iterable[Grant]) -> None:
        self._grants = tuple(grants)
        self._exactly: dict[_Place, Grant] = {}
        self._below: dict[_Place, Grant] = {}
        self._labelled: dict[_Place, list[Grant]] = {}
        for grant in self._grants:
            match grant.subject:
                case Exactly(spiffe_id):
                    self._exactly[_place(spiffe_id)] = grant
                case Below(prefix):
                    self._below[_place(prefix)] = grant
                case Labelled(labels):
                    if labels:  # no labels would mean everybody
                        self._labelled.setdefault(min(labels.items()), []).append(grant)

    def __len__(self) -> int:
        return len(self._grants)

    def granting(self, entry: EntrySpec) -> Grant | None:
        """A grant that covers the entry, or None: then it may not have the secret."""
        exact = self._exactly.get(_place(entry.spiffe_id))
        if exact is not None:
            return exact
        if self._below:
            for place in _leading(entry.spiffe_id):
                below = self._below.get(place)
                if below is not None:
                    return below
        if self._labelled:
            for label in entry.labels.items():
                for grant in self._labelled.get(label, ()):
                    if covers(grant.subject, entry):
                        return grant
        return None


_NONE = GrantIndex(())


class SecretCatalog:
    """Not for several threads: the event loop's own."""

    def __init__(self) -> None:
        self._secrets: dict[str, Secret] = {}
        self._ids: dict[str, str] = {}
        self._grants: dict[str, GrantIndex] = {}
        self._grant_count = 0

    # Reading

    def __len__(self) -> int:
        return len(self._secrets)

    @property
    def grant_count(self) -> int:
        return self._grant_count

    def secrets(self) -> Iterable[Secret]:
        return self._secrets.values()

    def secret(self, secret_id: str) -> Secret | None:
        return self._secrets.get(secret_id)

    def named(self, name: str) -> Secret | None:
        secret_id = self._ids.get(name)
        return None if secret_id is None else self._secrets[secret_id]

    def may(self, entry: EntrySpec, name: str) -> Secret | None:
        """The secret of this name, if whoever gets the entry's identity is granted it."""
        secret = self.named(name)
        return None if secret is None or self.granting(entry, secret.id) is None else secret

    def granting(self, entry: EntrySpec, secret_id: str) -> Grant | None:
        """By which grant the entry may have the secret; None if by none."""
        return self._grants.get(secret_id, _NONE).granting(entry)

    # Writing: the follower only

    def load(self, secrets: Iterable[Secret], grants: Iterable[Grant]) -> frozenset[str]:
        """Start over from the whole truth. The names that there were or are, all of which may have changed."""
        before = self._ids.keys()
        by_secret: dict[str, list[Grant]] = {}
        for grant in grants:
            by_secret.setdefault(grant.secret_id, []).append(grant)
        self._secrets = {secret.id: secret for secret in secrets}
        self._ids = {secret.name: secret.id for secret in self._secrets.values()}
        self._grants = {key: GrantIndex(of) for key, of in by_secret.items() if key in self._secrets}
        self._grant_count = sum(map(len, self._grants.values()))
        return frozenset(before | self._ids.keys())

    def put(self, secret_id: str, secret: Secret | None, grants: Collection[Grant] = ()) -> frozenset[str]:
        """Take over one secret as it stands now, None if it is gone. The names that this concerns."""
        before = self._secrets.pop(secret_id, None)
        self._grant_count -= len(self._grants.pop(secret_id, _NONE))
        if before is not None and self._ids.get(before.name) == secret_id:
            del self._ids[before.name]
        if secret is not None:
            self._secrets[secret_id] = secret
            self._ids[secret.name] = secret_id
            if grants:
                self._grants[secret_id] = GrantIndex(grants)
                self._grant_count += len(grants)
        return frozenset(one.name for one in (before, secret) if one is not None)

    def put_all(self, changed: Mapping[str, tuple[Secret | None, Collection[Grant]]]) -> frozenset[str]:
        """Several at once, so that two that swap their names don't lose them. The names that this concerns."""
        gone = [self.put(secret_id, None) for secret_id in changed]
        here = [self.put(secret_id, secret, grants) for secret_id, (secret, grants) in changed.items()]
        return frozenset().union(*gone, *here)


def _place(spiffe_id: SpiffeId) -> _Place:
    return spiffe_id.trust_domain.name, spiffe_id.path


def _leading(spiffe_id: SpiffeId) -> Iterator[_Place]:
    """The ID itself and all above it, by whole path segments, up to the trust domain's."""
    domain, path = _place(spiffe_id)
    while path:
        yield domain, path
        path = path.rpartition("/")[0]
    yield domain, ""

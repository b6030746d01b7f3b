"""Keeps the catalog true: reads again what the change feed names, and tells whoever it concerns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from sds.secrets.grant import Grant
from sds.secrets.secret import Secret
from sds.server.secrets.catalog import SecretCatalog
from sds.store.errors import NotFound
from sds.store.unit_of_work import UnitOfWork


class CatalogObserver(Protocol):
    def secrets_defined(self, secrets: int, grants: int) -> None: ...


class CatalogMirror:
    """`reread` is given to the follower. `changed` is told of secrets that were read again, None: it is gone."""

    def __init__(
        self,
        catalog: SecretCatalog,
        changed: Callable[[str, Secret | None], None],
        names_changed: Callable[[Iterable[str]], None],
        observer: CatalogObserver,
    ) -> None:
        self._catalog = catalog
        self._changed = changed
        self._names_changed = names_changed
        self._observer = observer

    def reread(self, uow: UnitOfWork, keys: Collection[str] | None) -> Callable[[], None]:
        """Read these secrets again, or all; what is returned takes them over."""
        if keys is None:
            secrets, grants = tuple(uow.secrets.all()), uow.grants.all()
            return lambda: self._load(secrets, grants)
        found = {key: (_secret(uow, key), uow.grants.of(key)) for key in keys}
        return lambda: self._take(found)

    def _load(self, secrets: Collection[Secret], grants: Collection[Grant]) -> None:
        before = {secret.id for secret in self._catalog.secrets()}
        names = self._catalog.load(secrets, grants)
        there = {secret.id: secret for secret in secrets}
        self._tell({key: there.get(key) for key in before | there.keys()}.items(), names)

    def _take(self, found: dict[str, tuple[Secret | None, tuple[Grant, ...]]]) -> None:
        names = self._catalog.put_all(found)
        self._tell(((key, secret) for key, (secret, _) in found.items()), names)

    def _tell(self, changed: Iterable[tuple[str, Secret | None]], names: Iterable[str]) -> None:
        """First the definitions, then the watches, which look at both."""
        for secret_id, secret in changed:
            self._changed(secret_id, secret)
        self._names_changed(names)
        self._observer.secrets_defined(len(self._catalog), self._catalog.grant_count)


def _secret(uow: UnitOfWork, secret_id: str) -> Secret | None:
    try:
        return uow.secrets.get(secret_id)
    except NotFound:
        return None

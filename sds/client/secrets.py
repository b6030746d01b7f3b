"""Named secrets. No answer has a value."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from ca.masked import Masked
from sds.client.grants import Grant
from sds.client.nouns import Noun, operation, revision_tag
from sds.client.results import Labels, Many, Result, Time
from sds.client.transport.connection import part

_PATH = "/v1/secrets"
_PATIENCE = 60.0
"""Seconds; a source is waited for at most 15, and asked by several replicas."""
Fields = Mapping[str, Any]
"""A secret's definition as the API takes one: `name`, `kind`, `source`, and what else a Secret has."""


class RotationPolicy(Result):
    """`every`: seconds after which a value is too old. `generate`: bytes of the values that are made here, or 0."""

    every: float | None
    generate: int


class State(Result):
    """How it stood at its source; `problem` is empty if nothing is wrong."""

    version: str
    changed_at: Time | None
    checked_at: Time | None
    not_after: Time | None
    problem: str
    problem_code: str
    problem_since: Time | None


class Secret(Result):
    """`granted`: the oldest of its grants, where one secret was asked for."""

    id: str
    revision: int
    name: str
    kind: str
    source: dict[str, Any]
    owner: str
    labels: Labels
    refresh: float | None
    rotation: RotationPolicy
    pinned: int | None
    state: State
    grants: int
    watchers: int
    created_at: Time
    updated_at: Time
    granted: Many[Grant] = ()

    @property
    def embedded(self) -> bool:
        """Whether its values are kept by the server itself."""
        return bool(self.source.get("backend") == "embedded")


class Reached(Result):
    """An entry that is granted the secret."""

    id: str
    spiffe_id: str
    parent_id: str


class DeletedSecret(Result):
    """The lists are cut; the totals are not."""

    dry_run: bool
    secret: Secret
    granted: Many[Grant]
    entries: Many[Reached]
    entries_total: int
    versions: int


class Version(Result):
    """`state`: live, deleted or destroyed."""

    version: str
    created_at: Time | None
    created_by: str
    state: str


class Versions(Result):
    versions: Many[Version]


class Secrets(Noun):
    @operation("secret.list")
    def list(
        self,
        *,
        prefix: str = "",
        kind: str | None = None,
        backend: str | None = None,
        owner: str | None = None,
        labels: Mapping[str, str] | None = None,
        problem: bool | None = None,
        limit: int | None = None,
    ) -> Iterator[Secret]:
        query = {
            "prefix": prefix,
            "kind": kind,
            "backend": backend,
            "owner": owner,
            "label": labels,
            "problem": problem,
        }
        return self._pages(Secret, _PATH, "secrets", query, limit=limit)

    @operation("secret.show")
    def get(self, name: str) -> Secret:
        return self._get(Secret, _one(name))

    @operation("secret.create")
    def create(self, fields: Fields) -> Secret:
        """Also where an identical one stands. Raises AlreadyExists for one that differs, Invalid."""
        return self._post(Secret, _PATH, dict(fields))

    @operation("secret.update")
    def update(self, name: str, fields: Fields, *, revision: int | None = None) -> Secret:
        """Replaces the definition. Raises Conflict if `revision` is not its own any more."""
        return self._put(Secret, _one(name), dict(fields), if_match=revision_tag(revision))

    @operation("secret.delete")
    def delete(self, name: str, *, revision: int | None = None, dry_run: bool = False) -> DeletedSecret:
        """Takes it from everybody; a dry run only says who loses it."""
        return self._delete(DeletedSecret, _one(name), {"dry_run": dry_run or None}, if_match=revision_tag(revision))

    @operation("secret.put")
    def put(self, name: str, fields: Mapping[str, Masked[bytes]], *, if_version: int | None = None) -> Version:
        """Writes a value; a generic secret has the one field "". `if_version`: only if this is the newest, 0: none."""
        encoded = {key: base64.b64encode(value.reveal()).decode("ascii") for key, value in fields.items()}
        body: dict[str, Any] = {"fields": encoded, **({} if if_version is None else {"if_version": if_version})}
        return self._put(Version, f"{_one(name)}:value", body)

    @operation("secret.versions")
    def versions(self, name: str) -> Versions:
        """All that the source still knows of, newest first."""
        return self._get(Versions, f"{_one(name)}:versions")

    @operation("secret.refresh")
    def refresh(self, name: str) -> Secret:
        """Asks the source now; `state.problem` says why that failed, if it did."""
        return self._post(Secret, f"{_one(name)}:refresh", keyed=False, timeout=_PATIENCE)

    @operation("secret.rollback")
    def rollback(self, name: str, version: int | None) -> Secret:
        """Delivers this version from now on; None: the newest again."""
        return self._post(Secret, f"{_one(name)}:rollback", {"version": version}, timeout=_PATIENCE)


def _one(name: str) -> str:
    return f"{_PATH}/{part(name)}"

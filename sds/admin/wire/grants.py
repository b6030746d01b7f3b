"""Grants as JSON: of a secret to one SPIFFE ID, to all below a prefix, or to entries by `labels`."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from pydantic import Field

from attestation.entry import RegistrationEntry
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services.grants import Allowed, Checked, CheckOrder, CreatedGrant, GrantInfo, Losing
from sds.admin.wire.common import Input, Output, SpiffeIdField, TextField, TimeOut, read
from sds.secrets.grant import Below, Exactly, Grant, Labelled, Subject

MAX_LABELS = 64
_ONE = "give exactly one of this, spiffe_id_prefix and labels"


class GrantIn(Input):
    """To whom: exactly one of the three."""

    secret: TextField
    spiffe_id: SpiffeIdField | None = None
    spiffe_id_prefix: SpiffeIdField | None = None
    labels: dict[str, str] = Field(default_factory=dict, max_length=MAX_LABELS)

    def subject(self) -> Subject:
        """Raises InvalidInput."""
        found: list[Subject] = []
        if self.spiffe_id is not None:
            found.append(Exactly(self.spiffe_id))
        if self.spiffe_id_prefix is not None:
            found.append(Below(self.spiffe_id_prefix))
        if self.labels:
            found.append(Labelled(MappingProxyType(dict(sorted(self.labels.items())))))
        if len(found) != 1:
            raise InvalidInput([FieldProblem("spiffe_id", _ONE)])
        return found[0]


class CheckIn(Input):
    """What is asked: at least one, and not both of the last two."""

    secret: TextField | None = None
    spiffe_id: SpiffeIdField | None = None
    entry_id: TextField | None = None

    def order(self) -> CheckOrder:
        """Raises InvalidInput."""
        given = [each for each in (self.spiffe_id, self.entry_id) if each is not None]
        if len(given) > 1:
            raise InvalidInput([FieldProblem("spiffe_id", "give this or entry_id")])
        if not given and self.secret is None:
            raise InvalidInput([FieldProblem("secret", "give at least one of this, spiffe_id and entry_id")])
        return CheckOrder(self.secret, self.spiffe_id, self.entry_id)


class GrantOut(Output):
    """Of `spiffe_id`, `spiffe_id_prefix` and `labels` one is given. A prefix has whole path segments."""

    id: str
    secret: str
    spiffe_id: str | None
    spiffe_id_prefix: str | None
    labels: dict[str, str]
    created_at: TimeOut
    created_by: str


class CreatedGrantOut(GrantOut):
    """`entries`: how many it reaches now."""

    entries: int


class GrantPage(Output):
    grants: list[GrantOut]
    next_cursor: str | None


class GrantedEntryOut(Output):
    id: str
    spiffe_id: str
    parent_id: str


class DeletedGrantOut(GrantOut):
    """`dry_run`: nothing was done, and `entries` says who would lose the secret: 100 at most of `entries_total`."""

    dry_run: bool = False
    entries: list[GrantedEntryOut] = Field(default_factory=list)
    entries_total: int | None = None


class AllowedOut(Output):
    """`entry_id` is null for an identity that no entry has."""

    secret: str
    spiffe_id: str
    entry_id: str | None
    grant: GrantOut


class CheckedOut(Output):
    """`allowed` has at most 1000, `total` counts all. Who is not among them may not have it."""

    allowed: list[AllowedOut]
    total: int


def grant_out(grant: Grant, secret: str) -> GrantOut:
    return GrantOut(**_common(grant, secret))


def deleted_out(info: GrantInfo) -> DeletedGrantOut:
    return DeletedGrantOut(**_common(info.grant, info.secret))


def losing_out(losing: Losing) -> DeletedGrantOut:
    return DeletedGrantOut(
        **_common(losing.info.grant, losing.info.secret),
        dry_run=True,
        entries=[granted_entry_out(each) for each in losing.entries],
        entries_total=losing.total,
    )


def created_out(made: CreatedGrant) -> CreatedGrantOut:
    return CreatedGrantOut(**_common(made.info.grant, made.info.secret), entries=made.entries)


def _common(grant: Grant, secret: str) -> dict[str, Any]:
    subject = grant.subject
    return {
        "id": grant.id,
        "secret": secret,
        "spiffe_id": str(subject.spiffe_id) if isinstance(subject, Exactly) else None,
        "spiffe_id_prefix": str(subject.prefix) if isinstance(subject, Below) else None,
        "labels": dict(sorted(subject.labels.items())) if isinstance(subject, Labelled) else {},
        "created_at": grant.created_at,
        "created_by": grant.created_by,
    }


def info_out(info: GrantInfo) -> GrantOut:
    return grant_out(info.grant, info.secret)


def granted_entry_out(entry: RegistrationEntry) -> GrantedEntryOut:
    return GrantedEntryOut(id=entry.id, spiffe_id=str(entry.spiffe_id), parent_id=str(entry.parent_id))


def checked_out(checked: Checked) -> CheckedOut:
    return CheckedOut(allowed=[_allowed_out(each) for each in checked.allowed], total=checked.total)


def _allowed_out(allowed: Allowed) -> AllowedOut:
    return AllowedOut(
        secret=allowed.secret,
        spiffe_id=str(allowed.spiffe_id),
        entry_id=allowed.entry_id,
        grant=grant_out(allowed.grant, allowed.secret),
    )


def read_grant(value: object) -> tuple[str, Subject]:
    """The secret's name, and to whom. Raises InvalidInput."""
    wanted = read(GrantIn, value)
    return wanted.secret, wanted.subject()


def read_check(value: object) -> CheckOrder:
    """Raises InvalidInput."""
    return read(CheckIn, value).order()

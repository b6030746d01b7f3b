"""What the store refuses or cannot do now. Messages are safe to show: no statement, no parameter, no driver text."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attestation.entry import RegistrationEntry
    from sds.secrets.grant import Grant


class StoreError(Exception):
    """Base of everything this package raises."""


class Reason(StrEnum):
    """Why the database cannot be used now; also a metric label."""

    LOCKED = "locked"  # another writer holds it for too long
    FULL = "full"  # no space (or quota) left
    IO = "io"  # the disk or file system failed
    READ_ONLY = "read_only"  # read-only file system, or a standby
    LOST = "lost"  # no connection, or it broke
    BUSY = "busy"  # too many connections, out of memory, a statement took too long
    CORRUPT = "corrupt"  # not a database, or damaged
    REPLACED = "replaced"  # the file is not the one that was opened
    CLOSED = "closed"  # this process is shutting down


_ADVICE = {
    Reason.LOCKED: "the database is locked by another writer; try again",
    Reason.FULL: "the database has no space left; free some, it recovers by itself",
    Reason.IO: "the database cannot be read or written (I/O error); check its disk",
    Reason.READ_ONLY: "the database is read-only; check its file system, or whether this is a standby",
    Reason.LOST: "the database cannot be reached; check that it runs and its URL",
    Reason.BUSY: "the database is overloaded; try again",
    Reason.CORRUPT: "the database is damaged or is no database; restore a backup",
    Reason.REPLACED: "the database file was moved, deleted or replaced in use; put it back, or restart the server",
    Reason.CLOSED: "the store is closed; this process is shutting down",
}


class StoreUnavailable(StoreError):
    """The database cannot be used now; nothing was acknowledged. `code` is the driver's own short code.

    With `uncertain`, the connection broke while the commit was under way: the change may stand or not.
    """

    def __init__(self, reason: Reason, code: str = "", *, uncertain: bool = False) -> None:
        super().__init__(f"{_ADVICE[reason]} ({code})" if code else _ADVICE[reason])
        self.reason = reason
        self.code = code
        self.uncertain = uncertain


class Conflict(StoreError):
    """Compare-and-swap failed: what stands now is at `current`, not at what the caller expected."""

    def __init__(self, what: str, current: int | str) -> None:
        super().__init__(f"{what} has changed meanwhile: it is at {current} now; read it again and repeat")
        self.what = what
        self.current = current


class NotFound(StoreError):
    """There is no such thing."""

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"no such {kind}: {key}")
        self.kind = kind
        self.key = key


class AlreadyExists(StoreError):
    """An entry with the same (spiffe_id, parent_id, selectors) stands already."""

    def __init__(self, entry: RegistrationEntry) -> None:
        super().__init__(f"entry {entry.id} already has this SPIFFE ID, parent and selectors")
        self.entry = entry


class NameTaken(StoreError):
    """Another one of this kind has the name."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is a {kind} of the name {name} already")
        self.kind = kind
        self.name = name


class AlreadyGranted(StoreError):
    """The secret is granted to this very subject already."""

    def __init__(self, grant: Grant) -> None:
        super().__init__(f"grant {grant.id} has this secret and subject already")
        self.grant = grant


class Banned(StoreError):
    """The agent is banned; delete it to let it attest again."""

    def __init__(self, spiffe_id: str) -> None:
        super().__init__(f"agent {spiffe_id} is banned")
        self.spiffe_id = spiffe_id


class TokenRefused(StoreError):
    """The join token is unknown, used or expired; `why` is for the audit log, callers must not be told which."""

    def __init__(self, why: str) -> None:
        super().__init__("the join token is unknown, used or expired")
        self.why = why


class InvalidCursor(StoreError):
    """The page cursor was not made by this listing."""

    def __init__(self) -> None:
        super().__init__("the cursor is not one that this listing returned; start again without one")


class ConstraintViolated(StoreError):
    """A rule of the database refused the change; `constraint` names it where the driver says so."""

    def __init__(self, constraint: str = "") -> None:
        super().__init__(f"a constraint of the database refused the change{f' ({constraint})' if constraint else ''}")
        self.constraint = constraint


class UnauditedChange(StoreError):
    """A transaction changed audited data and appended no audit event: it was rolled back (fail closed)."""

    def __init__(self, tables: str) -> None:
        super().__init__(f"a change of {tables} had no audit event and was rolled back")


class FeedTruncated(StoreError):
    """The asked-for place in the change feed is unknown (pruned, or from another database): take a snapshot."""

    def __init__(self, after: int, oldest: int, newest: int) -> None:
        super().__init__(f"changes after {after} are not kept (kept: after {oldest} to {newest}); take a snapshot")
        self.after = after
        self.oldest = oldest
        self.newest = newest


class InvalidDatabaseUrl(StoreError):
    """The URL names no database that this program can use. Never shown: the URL itself, it may hold a password."""


class SchemaOutdated(StoreError):
    """The database is older than this program, or empty."""

    def __init__(self, found: str | None, wanted: str) -> None:
        what = f"at schema {found}" if found else "empty"
        super().__init__(f"the database is {what}, this program needs {wanted}: run `sds db upgrade`")
        self.found = found
        self.wanted = wanted


class SchemaTooNew(StoreError):
    """The database was upgraded by a newer program (or belongs to another one)."""

    def __init__(self, found: str, newest: str) -> None:
        super().__init__(
            f"the database is at schema {found}, which this program does not know (its newest is {newest}): "
            "run the newer sds that upgraded it, or restore a backup"
        )
        self.found = found
        self.newest = newest

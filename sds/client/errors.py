"""What a call of the admin API can end with. Messages are safe to show: none repeats a token, a value or an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ClientError(Exception):
    """Base of everything that this package raises. `message` says what is wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unusable(ClientError):
    """What the caller gave cannot be used: a URL, a file of a certificate or a token, text that is not Unicode."""


class Unreachable(ClientError):
    """Nobody answered, or not to the end. What was asked may be done or not, unless nothing was ever connected.

    `why` says it without the place; `errno` is the system's number, 0 if it named none.
    """

    def __init__(self, where: str, why: str, *, errno: int = 0, timed_out: bool = False) -> None:
        super().__init__(f"cannot reach {where}: {why}")
        self.where = where
        self.why = why
        self.errno = errno
        self.timed_out = timed_out


class BrokenOff(Unreachable):
    """The HTTP server's own words instead of the API's: it is being stopped while it answers."""

    def __init__(self, where: str, status: int) -> None:
        super().__init__(where, f"it broke off while it answered ({status})")
        self.message = f"{where} broke off while it answered ({status})"
        self.status = status


class NotTheApi(ClientError):
    """Something answers that is not the admin API: no JSON, too much of it, a redirect."""

    def __init__(self, where: str, how: str = "") -> None:
        super().__init__(f"what answers at {where} is not the admin API{f': {how}' if how else ''}")
        self.where = where


class Unexpected(ClientError):
    """The answer does not have the fields that this version reads; `fields` are their paths, never their values."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        super().__init__(f"the answer is not what this version of sds expects ({', '.join(fields)})")
        self.fields = fields


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing that is wrong with a request; `field` is the REST field's path, e.g. ``entries[3].owner``."""

    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class Refused(ClientError):
    """The server refused the call by a problem document (RFC 9457).

    `kind` is what follows ``urn:sds:problem:`` in its type. `document` is all of it, with the extensions of its kind.
    `path` is what was called, `where` the target.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        problems: tuple[FieldProblem, ...] = (),
        document: Mapping[str, Any] | None = None,
        path: str = "",
        where: str = "",
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.problems = problems
        self.document = dict(document or {})
        self.path = path
        self.where = where

    @property
    def request_id(self) -> str:
        """Under which the server's log and audit log have it; "" if it said none."""
        found = self.document.get("request_id")
        return found if isinstance(found, str) else ""


class Malformed(Refused):
    """The server could not read the request (400, 415)."""


class Unauthenticated(Refused):
    """The server does not know who calls: no credential, or one that is not good any more (401)."""


class Forbidden(Refused):
    """The server knows who calls, and that this is not for them (403)."""


class NotFound(Refused):
    """There is no such thing, or the caller may not know of it (404)."""


class NoSuchCall(Refused):
    """The server does not know the path or the method: it is of another version, or it is an agent (404, 405)."""


class AlreadyExists(Refused):
    """It stands with other values (409)."""


class NotNow(Refused):
    """What stands does not allow it: a ban, a rotation, a state (409)."""


class GateClosed(NotNow):
    """Somebody would not accept what the authority issues; `document` has the gate (409)."""


class Conflict(Refused):
    """It was changed meanwhile: its revision is not the one of If-Match (412)."""

    @property
    def current_revision(self) -> int | None:
        found = self.document.get("current_revision")
        return found if isinstance(found, int) else None


class TooLarge(Refused):
    """The request is larger than the server takes (413)."""


class Invalid(Refused):
    """The values break rules; `problems` has all of them (422)."""


class TooManyRequests(Refused):
    """A limit of the server is reached, and was at each of the attempts (429)."""


class Unavailable(Refused):
    """The server cannot do it now: its store, its keys or a source are away (503)."""


class ServerFailed(Refused):
    """Something went wrong in the server; its log has it under `request_id` (5xx)."""


class ApprovalNeeded(ClientError):
    """Nothing was done yet: somebody else has to approve it (202).

    `approval_id` is what they approve; `document` is the approval as the server described it.
    """

    def __init__(self, approval_id: str, document: Mapping[str, Any]) -> None:
        super().__init__(f"somebody else has to approve this: approval {approval_id}")
        self.approval_id = approval_id
        self.document = dict(document)


_KINDS: Mapping[str, type[Refused]] = {
    "already-exists": AlreadyExists,
    "conflict": Conflict,
    "gate-closed": GateClosed,
    "method-not-allowed": NoSuchCall,
    "no-such-path": NoSuchCall,
}

_STATUSES: Mapping[int, type[Refused]] = {
    400: Malformed,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    405: NoSuchCall,
    409: NotNow,
    412: Conflict,
    413: TooLarge,
    415: Malformed,
    422: Invalid,
    429: TooManyRequests,
    503: Unavailable,
}


def refusal_class(status: int, kind: str) -> type[Refused]:
    """By the problem's type, else by its status."""
    return _KINDS.get(kind) or _STATUSES.get(status) or (ServerFailed if status >= 500 else Refused)

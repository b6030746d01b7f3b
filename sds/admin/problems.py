"""Errors as RFC 9457 problem documents: one table, and anything that is not in it is a 500 without detail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from attestation.errors import AttestationRefused, InvalidEntry, InvalidSelector, InvalidSpiffeId
from ca.errors import (
    AuthorityUnavailable,
    CsrRefused,
    InvalidJwtSvid,
    IssuanceRefused,
    KeyUnwrapFailed,
    RotationRefused,
)
from ca.gate import GateClosed
from sds.admin import errors
from sds.admin.errors import FieldProblem
from sds.admin.wire.authorities import gate_out
from sds.admin.wire.common import problem_of
from sds.secrets.errors import InvalidSecret, SecretDenied, SecretMalformed, SecretMissing, SecretUnavailable
from sds.store import errors as store

URN = "urn:sds:problem:"
"""Prefix of every problem's `type`; what follows is stable and may be matched by programs."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document (RFC 9457 section 3.1). `problems` are our extension: one an offending field."""

    status: int
    code: str
    detail: str
    problems: tuple[FieldProblem, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def document(self, request_id: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "type": URN + self.code,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
        }
        if self.problems:
            body["problems"] = [{"field": each.field, "problem": each.problem} for each in self.problems]
        return {**body, **self.extra}

    def response(self, request_id: str) -> JSONResponse:
        return JSONResponse(
            self.document(request_id),
            status_code=self.status,
            headers=dict(self.headers),
            media_type="application/problem+json",
        )

    def summary(self) -> str:
        """One line for the audit log."""
        fields = "; ".join(f"{each.field}: {each.problem}" for each in self.problems[:10])
        return f"{self.detail} ({fields})" if fields else self.detail


INTERNAL = Problem(500, "internal", "something went wrong here; the server's log has it under this request id")


def _invalid_input(error: errors.InvalidInput) -> Problem:
    return _unprocessable(error.problems)


def _unprocessable(problems: tuple[FieldProblem, ...]) -> Problem:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return Problem(422, "invalid", f"the request has {count}", problems)


def _request_invalid(error: RequestValidationError) -> Problem:
    """FastAPI's own checks (query and path). Its default answer echoes the input, and so does `str(error)`."""
    found = [problem_of(each["type"], each["loc"][1:], each["msg"]) for each in error.errors()]
    return _unprocessable(tuple(found))


def _invalid_entry(error: InvalidEntry) -> Problem:
    return _unprocessable((FieldProblem(error.field, error.problem),))


def _already_exists(error: store.AlreadyExists) -> Problem:
    existing = {"entry_id": error.entry.id, "revision": error.entry.revision}
    return Problem(409, "already-exists", str(error), extra=MappingProxyType(existing))


def _already_granted(error: store.AlreadyGranted) -> Problem:
    return Problem(409, "already-exists", str(error), extra=MappingProxyType({"grant_id": error.grant.id}))


def _invalid_secret(error: InvalidSecret) -> Problem:
    return _unprocessable((FieldProblem(error.field, error.problem),))


def _conflict(error: store.Conflict) -> Problem:
    return Problem(412, "conflict", str(error), extra=MappingProxyType({"current_revision": error.current}))


def _too_many(error: errors.TooManyRequests) -> Problem:
    return Problem(429, "too-many-requests", str(error), headers={"Retry-After": f"{error.retry_after:.0f}"})


def _not_authenticated(error: errors.NotAuthenticated) -> Problem:
    """RFC 9110 section 11.6.1 and RFC 6750 section 3: which scheme would do."""
    return Problem(401, "not-authenticated", str(error), headers={"WWW-Authenticate": 'Bearer realm="sds"'})


def _login_needed(error: errors.LoginNeeded) -> Problem:
    return Problem(303, "login-needed", str(error), headers={"Location": f"/login?next={error.then}"})


def _http(error: HTTPException) -> Problem:
    """What the router itself refuses. Its detail is a fixed phrase, but is not ours: replaced."""
    code, detail = _ROUTER.get(error.status_code, ("refused", "the request is refused"))
    allowed = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return Problem(error.status_code, code, detail, headers=allowed)


_ROUTER = {
    404: ("no-such-path", "there is nothing at this path"),
    405: ("method-not-allowed", "this path does not take this method"),
    413: ("too-large", "the body is too large"),
}


def _gate_closed(error: GateClosed) -> Problem:
    gate = {"gate": gate_out(error.gate).model_dump(mode="json")}
    return Problem(409, "gate-closed", str(error), extra=MappingProxyType(gate))


def _gone(_: ClientDisconnect) -> Problem:
    return Problem(400, "malformed-body", "the client went away before its request was complete")


def _plain(status: int, code: str, *, retry: bool = False) -> Callable[[Any], Problem]:
    """A rule for errors whose message is safe to show and says enough."""
    headers = {"Retry-After": "1"} if retry else {}
    return lambda error: Problem(status, code, str(error), headers=headers)


_TABLE: tuple[tuple[type[Exception], Callable[[Any], Problem]], ...] = (
    # The request itself.
    (errors.MalformedBody, _plain(400, "malformed-body")),
    (errors.BadPrecondition, _plain(400, "bad-precondition")),
    (errors.LoginNeeded, _login_needed),
    (errors.NotAuthenticated, _not_authenticated),
    (errors.WrongHost, _plain(421, "wrong-host")),
    (errors.Forbidden, _plain(403, "forbidden")),
    (errors.KeyReused, _plain(422, "idempotency-key-reused")),
    (errors.StillInProgress, _plain(409, "idempotency-in-progress", retry=True)),
    (errors.OutcomeUnknown, _plain(409, "idempotency-unknown")),
    (errors.AnswerNotKept, _plain(409, "idempotency-spent")),
    (errors.BodyTooLarge, _plain(413, "too-large")),
    (errors.UnsupportedMediaType, _plain(415, "unsupported-media-type")),
    (errors.InvalidInput, _invalid_input),
    (RequestValidationError, _request_invalid),
    (errors.TooManyRequests, _too_many),
    (HTTPException, _http),
    (ClientDisconnect, _gone),
    # What it names, or says.
    (InvalidEntry, _invalid_entry),
    (InvalidSpiffeId, _plain(422, "invalid")),
    (InvalidSelector, _plain(422, "invalid")),
    (AttestationRefused, _plain(403, "refused")),
    (CsrRefused, _plain(422, "invalid")),
    (InvalidJwtSvid, _plain(422, "invalid-token")),
    (InvalidSecret, _invalid_secret),
    (store.InvalidCursor, _plain(422, "invalid-cursor")),
    # What stands.
    (store.NotFound, _plain(404, "not-found")),
    (store.AlreadyExists, _already_exists),
    (errors.AlreadyFederated, _plain(409, "already-exists")),
    (errors.ProofUnavailable, _plain(409, "proof-unavailable")),
    (store.NameTaken, _plain(409, "already-exists")),
    (store.AlreadyGranted, _already_granted),
    (store.Banned, _plain(409, "banned")),
    (store.Conflict, _conflict),
    (IssuanceRefused, _plain(409, "refused")),
    (GateClosed, _gate_closed),
    (RotationRefused, _plain(409, "rotation-refused")),
    # A secret's source; that it denies us is told to operators only, and only they are here.
    (SecretMissing, _plain(409, "source-missing")),
    (SecretDenied, _plain(409, "source-denied")),
    (SecretMalformed, _plain(409, "source-malformed")),
    # What cannot be done now.
    (SecretUnavailable, _plain(503, "source-unavailable", retry=True)),
    (store.StoreUnavailable, _plain(503, "store-unavailable", retry=True)),
    (AuthorityUnavailable, _plain(503, "authority-unavailable", retry=True)),
    (KeyUnwrapFailed, _plain(503, "key-unwrap-failed")),
)

HANDLED: tuple[type[Exception], ...] = tuple(kind for kind, _ in _TABLE)


def problem_for(error: Exception) -> Problem:
    """The problem that `error` is by the table; INTERNAL if it has no row."""
    for kind, make in _TABLE:
        if isinstance(error, kind):
            return make(error)
    return INTERNAL

"""What the admin services refuse, beside the errors of attestation, ca and sds.store. Every message is safe to show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sds.admin.services.common import Caller


class AdminError(Exception):
    """Base of everything this package raises."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing that is wrong with a request; `field` is the REST field's path, e.g. ``entries[3].dns_names[0]``."""

    field: str
    problem: str


class InvalidInput(AdminError):
    """The request is well formed but its values break rules; carries all problems at once (HTTP 422)."""

    def __init__(self, problems: Iterable[FieldProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{p.field}: {p.problem}" for p in self.problems))


class Forbidden(AdminError):
    """The caller is known but may not use the admin API (HTTP 403)."""


class NotAdmitted(Forbidden):
    """The listener's door stays shut (HTTP 403). `told`: why, for the audit log; "" where that would only fill it.

    `caller`: who it is, where that is known. `final`: not even what everybody may ask is answered.
    """

    def __init__(self, message: str, *, told: str, caller: Caller | None = None, final: bool = False) -> None:
        super().__init__(message)
        self.told = told
        self.caller = caller
        self.final = final


class NotAuthenticated(NotAdmitted):
    """Nobody known asks: there are no credentials, or none that hold (HTTP 401). It never says which."""


class LoginNeeded(NotAuthenticated):
    """The same for a browser, which is led to the login (HTTP 303). `then`: what it asked for, quoted for a URL."""

    def __init__(self, message: str, then: str) -> None:
        super().__init__(message, told="")
        self.then = then


class WrongHost(NotAdmitted):
    """The request names a host that this listener is not known by (HTTP 421, RFC 9110 section 15.5.20)."""


class AlreadyFederated(AdminError):
    """The trust domain is federated with already, by another endpoint (HTTP 409)."""

    def __init__(self, trust_domain: str) -> None:
        super().__init__(f"{trust_domain} is federated with already, by another endpoint; update that")


class TooManyRequests(AdminError):
    """A limit is reached; try again after `retry_after` seconds (HTTP 429)."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class MalformedBody(AdminError):
    """The body is not the JSON that was expected (HTTP 400). The message never repeats the body."""


class UnsupportedMediaType(AdminError):
    """The body is not declared as JSON (HTTP 415)."""


class BodyTooLarge(AdminError):
    """The body exceeds its bound (HTTP 413)."""


class ProofUnavailable(AdminError):
    """The audit log's tree cannot prove it, now or at all; the message says which."""


class KeyReused(AdminError):
    """The Idempotency-Key was sent before with another request (HTTP 422)."""

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was sent with another request before; take a new one")


class StillInProgress(AdminError):
    """The first request with this Idempotency-Key is still being done (HTTP 409)."""

    def __init__(self) -> None:
        super().__init__("the first request with this Idempotency-Key is still being done; ask again")


class OutcomeUnknown(AdminError):
    """Whether the first request with this Idempotency-Key was done is not known (HTTP 409)."""

    def __init__(self) -> None:
        super().__init__(
            "the server ended while it did the first request with this Idempotency-Key; "
            "look at what stands, and take a new key"
        )


class AnswerNotKept(AdminError):
    """The first request with this Idempotency-Key was done, and its answer cannot be given again (HTTP 409)."""

    def __init__(self) -> None:
        super().__init__("this was done with the first request; its answer is not kept, for it may hold a secret")


class BadPrecondition(AdminError):
    """The If-Match header is malformed or contradicts the body (HTTP 400)."""

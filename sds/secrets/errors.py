"""What can be wrong with a secret. Every message is safe to show to operators; none holds a value."""

from __future__ import annotations


class SecretError(Exception):
    """A secret cannot be had now; the last good value stays in use."""

    code = "unavailable"


class SecretUnavailable(SecretError):
    """Its backend does not answer; try again later."""


class SecretMissing(SecretError):
    """There is nothing at its source: never written, deleted, or destroyed."""

    code = "missing"


class SecretDenied(SecretError):
    """Its backend lets us not read it. Told apart from `SecretMissing` to operators only."""

    code = "denied"


class SecretMalformed(SecretError):
    """What its source holds is not fit to be sent: not of its kind, too large, expired, or key and chain differ."""

    code = "malformed"


class InvalidSecret(Exception):
    """A definition or a grant that is refused. `field` names what is wrong with it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem

"""What can be wrong with a claim about who is calling. Every message is safe to show to the caller."""

from __future__ import annotations


class AttestationError(Exception):
    """Base of everything this package raises."""


class InvalidSpiffeId(AttestationError):
    """The text is not a SPIFFE ID or a trust domain by the SPIFFE-ID standard."""


class InvalidSelector(AttestationError):
    """The text is not ``type:value``."""


class InvalidSan(AttestationError):
    """The text is not a further subject alternative name."""


class InvalidSubject(AttestationError):
    """The text is not a certificate's subject, or says what a subject must not say."""


class InvalidEntry(AttestationError):
    """A registration entry breaks a rule; `field` names the offending field."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class AttestationRefused(AttestationError):
    """The evidence does not prove what it claims; the caller gets nothing."""

"""Why a bundle was not had. Every message is safe to show."""

from __future__ import annotations


class PollFailed(Exception):
    """Base; `outcome` is a word for metrics."""

    outcome = "failure"


class EndpointUnreachable(PollFailed):
    """No connection, no answer in time, or one that is no bundle's (a status other than 200)."""

    outcome = "unreachable"


class EndpointNotAuthentic(PollFailed):
    """Whoever answered did not prove to be the endpoint."""

    outcome = "unauthenticated"


class BundleRefused(PollFailed):
    """What the endpoint answered is no bundle, or an older one."""

    outcome = "refused"


class InvalidEndpoint(ValueError):
    """The parameters of a bundle endpoint are no such parameters; the message continues a sentence."""

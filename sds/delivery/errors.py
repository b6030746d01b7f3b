"""Why a stream or a fetch ends. Messages are safe to show to the client; `sds.delivery.status` gives each its code."""

from __future__ import annotations


class DeliveryError(Exception):
    """Base of everything this package raises."""


class InvalidRequest(DeliveryError):
    """The message cannot be understood, or asks for something that cannot be a name."""


class LimitExceeded(DeliveryError):
    """The client wants more names or streams than it may have."""


class NoIdentity(DeliveryError):
    """No entry gives the caller an identity, or none does any more."""


class NotGranted(DeliveryError):
    """The caller has an identity, but the server refuses it this token."""


class NotReady(DeliveryError):
    """What the caller is entitled to cannot be served now; it may try again."""


class NotSupported(DeliveryError):
    """A method that a standard knows and this program does not."""


class NoSuchSecret(DeliveryError):
    """A fetch names nothing that the caller may have."""

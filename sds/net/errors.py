"""What can go wrong with a socket. Every message is safe to show and says what to do."""

from __future__ import annotations


class NetError(Exception):
    """Base of everything this package raises."""


class AddressUnusable(NetError):
    """We cannot listen there."""


class PeerUnknown(NetError):
    """The kernel does not tell who is at the other end."""

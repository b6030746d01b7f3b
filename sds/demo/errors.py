"""What can go wrong in a demo; the messages are for the person at the terminal."""

from __future__ import annotations


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""


class EnvoyMissing(DemoError):
    """There is no Envoy to run."""


class VaultMissing(DemoError):
    """There is no OpenBao to run."""

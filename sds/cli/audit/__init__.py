"""sds audit: the log of who did what, and the proofs that nothing of it was taken away."""

from __future__ import annotations

from sds.cli.audit.commands import app

__all__ = ["app"]

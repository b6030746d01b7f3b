"""sds secret: named secrets. No command prints a value, and none takes one from its arguments."""

from __future__ import annotations

from sds.cli.secret.commands import app

__all__ = ["app"]

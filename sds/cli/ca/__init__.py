"""sds ca: the authorities, looked at and rotated by hand."""

from __future__ import annotations

from sds.cli.ca.commands import app

__all__ = ["app"]

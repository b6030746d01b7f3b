"""sds access: who may use the admin API."""

from __future__ import annotations

from sds.cli.access.commands import app

__all__ = ["app"]

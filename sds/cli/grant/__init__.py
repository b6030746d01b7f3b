"""sds grant: who may have which secret."""

from __future__ import annotations

from sds.cli.grant.commands import app

__all__ = ["app"]

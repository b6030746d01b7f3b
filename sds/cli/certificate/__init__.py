"""sds certificate: what was issued, to whom, and who holds it now."""

from __future__ import annotations

from sds.cli.certificate.commands import app

__all__ = ["app"]

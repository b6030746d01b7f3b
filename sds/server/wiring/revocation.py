"""Revocation: what administrators ask for, and what is answered to whoever asks."""

from __future__ import annotations

from uuid import uuid4

from starlette.routing import BaseRoute

from sds.server.revocation.routes import revocation_routes
from sds.server.revocation.served import ServedLists
from sds.server.revocation.service import RevocationParts, RevocationService
from sds.server.services.common import Desk
from sds.server.wiring.core import Core


def revocation_service(core: Core, desk: Desk) -> RevocationService:
    return RevocationService(
        RevocationParts(
            desk=desk,
            authorities=core.authorities,
            publish=core.crls.ensure,
            keep=core.memory.keep,
            bundle=lambda: core.registry.bundle,
            trust_domain=core.config.trust_domain,
            new_id=lambda: uuid4().hex,
            clock=core.clock,
            observer=core.telemetry,
        )
    )


def public_revocation(core: Core) -> list[BaseRoute]:
    """CRLs and OCSP, for a public listener."""
    lists = ServedLists(core.store, core.authorities, core.events, core.clock)
    return revocation_routes(lists.get, core.ocsp)

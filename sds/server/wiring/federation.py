"""Federation with other trust domains: what fetches their bundles, and what administrators tell it."""

from __future__ import annotations

from sds.server.federation.fetch import BundleFetcher, FetchOptions
from sds.server.federation.poller import Poller
from sds.server.federation.schedule import PollPolicy
from sds.server.federation.service import FederationService
from sds.server.services.common import Desk
from sds.server.wiring.core import Core


def federation_poller(core: Core) -> Poller:
    config = core.config.federation
    return Poller(
        core.store,
        BundleFetcher(FetchOptions(config.timeout, config.max_redirects, config.web_ca_file)),
        lambda: core.registry.bundle,
        core.events,
        core.clock,
        PollPolicy(config.min_interval, config.max_interval, config.retry),
        core.telemetry,
    )


def federation_service(core: Core, desk: Desk, poller: Poller) -> FederationService:
    return FederationService(desk, poller, core.config.trust_domain, core.registry.federating)

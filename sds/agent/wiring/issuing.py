"""What the agent asks of the server: certificates, tokens and OCSP answers for its workloads, and its own SVID."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from sds.agent import options
from sds.agent.doubts import BundleReader
from sds.agent.issuer import Issuer
from sds.agent.jwt.tokens import JwtSvids
from sds.agent.observe import ServerObserver
from sds.agent.renew import OwnSvid
from sds.agent.staples import Stapler
from sds.agent.wiring.core import Core


@dataclass(frozen=True, slots=True)
class Issuing:
    """What keeps certificates and tokens good. Each runs for ever."""

    issuer: Issuer
    tokens: JwtSvids
    stapler: Stapler
    own: OwnSvid

    def loops(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        return [
            ("issuing", self.issuer.run()),
            ("JWT-SVIDs", self.tokens.run()),
            ("OCSP answers", self.stapler.run()),
            ("renewal of this agent's SVID", self.own.run()),
        ]


def issuing(core: Core) -> Issuing:
    config, clock, log, cache, upstream = core.config, core.clock, core.log, core.cache, core.upstream
    backoff, observer = options.backoff(config), ServerObserver(core.metrics)
    reader = BundleReader(core.executors[0], log)
    issuer = Issuer(cache, upstream, reader, backoff, options.issuer(config), observer, clock, core.executors[0], log)
    tokens = JwtSvids(cache, upstream, cache.bundles_for, backoff, options.tokens(config), observer, clock, log)
    core.metrics.tokens.set_function(lambda: len(tokens))
    stapler = Stapler(cache, upstream, config.svid.ocsp_staple, config.upstream.sign_batch, clock, log)
    own = OwnSvid(upstream, reader, backoff, config.svid.replace_within, observer, clock, log)
    return Issuing(issuer, tokens, stapler, own)

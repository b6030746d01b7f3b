"""No upstream: each authority is its own root (plugin `self_signed`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from attestation.spiffe_id import TrustDomain
from ca.chains.certificate import authority_certificate
from ca.keys import KeyType
from ca.lifetime import Validity, floor_second
from ca.signer import Signer
from ca.template import sign_all
from ca.upstream import Minted

NAME = "self_signed"


class SelfSignedUpstream:
    """Implements ca.upstream.UpstreamAuthority."""

    name = NAME

    def __init__(self, serial_source: Callable[[], int], backdate: timedelta) -> None:
        self._serial_source = serial_source
        self._backdate = backdate

    def check(self) -> None:
        """Nothing that could be missing."""

    async def mint(
        self, key: Signer, key_type: KeyType, trust_domain: TrustDomain, lifetime: timedelta, now: datetime
    ) -> Minted:
        del key_type  # the key says
        validity = Validity(floor_second(now - self._backdate), floor_second(now + lifetime))
        unsigned = authority_certificate(trust_domain, key.public_key, self._serial_source(), validity)
        (certificate,) = await asyncio.to_thread(sign_all, [unsigned], key)
        return Minted(certificate, (), (), validity.not_before, validity.not_after)

"""The server's own X.509-SVID: made in memory, renewed at half-life, handed to the listeners without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import TrustBundle, to_pem
from ca.csr import VerifiedCsr
from ca.errors import CaError
from ca.intent import CertificateIntent, IssuedCertificate, IssueRequest
from ca.keys import KeyType, generate, to_pkcs8_pem
from ca.lifetime import renew_at
from ca.profile import SERVER_PATH, ProfileName
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.events import rfc3339, system_actor
from sds.server.issuance import Issuance
from sds.server.tls import TlsMaterial
from sds.store.errors import StoreError
from sds.store.unit_of_work import UnitOfWork

_TICK = 5.0  # seconds; bounds how long a jump of the wall clock goes unnoticed
_RETRY = 2.0


class OwnSvid:
    """`current` is an attribute read, because grpcio calls it from its own threads."""

    def __init__(
        self, issuance: Issuance, bundle: Callable[[], TrustBundle], trust_domain: TrustDomain, clock: Clock
    ) -> None:
        self._issuance = issuance
        self._bundle = bundle
        self._id = SpiffeId(trust_domain, SERVER_PATH)
        self._clock = clock
        self._material: TlsMaterial | None = None
        self._intent: CertificateIntent | None = None
        self._due: datetime | None = None
        self._wake = asyncio.Event()
        self._log = get_logger(__name__)

    def current(self) -> TlsMaterial:
        """What handshakes use now. Raises RuntimeError before the first `renew`."""
        if self._material is None:
            raise RuntimeError("the server has no certificate yet")
        return self._material

    @property
    def not_after(self) -> datetime | None:
        return None if self._intent is None else self._intent.not_after

    async def renew(self) -> None:
        """A new key and a certificate for it. Raises CaError, StoreError; what stands goes on being used then."""
        key = await asyncio.to_thread(generate, KeyType.ECDSA_P256)
        request = IssueRequest(ProfileName.SERVER, self._id, VerifiedCsr.of_own_key(key))
        issued = await self._issuance.issue(request, system_actor(), "", _nothing_else)
        chain = b"".join(to_pem(der) for der in issued.chain)
        generation = 0 if self._material is None else self._material.generation + 1
        self._material = TlsMaterial(generation, chain, to_pkcs8_pem(key), self._bundle().pem())
        self._intent = issued.intent
        self._due = renew_at(issued.intent.not_before, issued.intent.not_after, self._clock.jitter())
        self._log.info("renewed the server's certificate", serial=issued.intent.serial, until=_until(issued))

    def bundle_changed(self) -> None:
        """Handshakes from now on trust the new bundle."""
        material = self._material
        roots = self._bundle().pem()
        if material is not None and material.roots_pem != roots:
            self._material = TlsMaterial(material.generation + 1, material.chain_pem, material.private_key_pem, roots)
        self._wake.set()

    def authority_is(self, authority_id: str) -> None:
        """Renew at once if another authority signs now."""
        if self._intent is not None and self._intent.authority_id != authority_id:
            self._due = self._clock.now()
            self._wake.set()

    def revoked(self, serials: Collection[str]) -> None:
        """Renew at once if ours is among them."""
        if self._intent is not None and self._intent.serial in serials:
            self._due = self._clock.now()
            self._wake.set()

    async def run(self) -> None:
        """Renew when it is time, until cancelled."""
        while True:
            left = self._left()
            if left > 0:
                self._wake.clear()
                try:
                    async with asyncio.timeout(min(left, _TICK)):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                continue
            try:
                await self.renew()
            except (CaError, StoreError) as error:
                self._log.warning("the server's certificate could not be renewed", reason=str(error))
                await asyncio.sleep(_RETRY * (0.5 + self._clock.jitter()))

    def _left(self) -> float:
        """Seconds until it is time. One that is not valid yet was made before the clock was set back."""
        now = self._clock.now()
        if self._due is None:
            return _TICK
        if self._intent is not None and now < self._intent.not_before:
            return 0.0
        return (self._due - now).total_seconds()


def _nothing_else(uow: UnitOfWork, intent: CertificateIntent) -> None:
    """The certificate follows from nothing but the server's being."""


def _until(issued: IssuedCertificate) -> str:
    return rfc3339(issued.intent.not_after)

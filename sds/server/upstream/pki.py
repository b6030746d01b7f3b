"""A PKI engine of Vault, looked at now and then: whether it can certify, and which roots it publishes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.spiffe_id import TrustDomain
from ca.errors import AuthorityUnavailable
from ca.upstreams.following import Published
from ca.upstreams.vault_pki import NAME, Engine, Order, PkiIssuer, judge
from sds.clock import Clock
from sds.server.upstream.files import read_file
from sds.server.upstream.watch import UpstreamWatch
from sds.store.errors import StoreError


class PkiEngine(Protocol):
    """See sds.vault.pki_upstream.VaultPki. Both raise AuthorityUnavailable."""

    async def engine(self, *, with_roots: bool) -> Engine: ...

    async def sign(self, order: Order) -> tuple[bytes, ...]: ...


class WatchedMount:
    """Implements ca.upstreams.vault_pki.PkiMount. `run` has to run beside it."""

    def __init__(
        self,
        engine: PkiEngine,
        bundle: Path | None,
        trust_domain: TrustDomain,
        watch: UpstreamWatch,
        clock: Clock,
        interval: timedelta,
    ) -> None:
        """`bundle`: a file with the roots, instead of those that the engine itself has."""
        self._engine = engine
        self._bundle = bundle
        self._trust_domain = trust_domain
        self._watch = watch
        self._clock = clock
        self._interval = interval.total_seconds()
        self._seen: tuple[Engine, PkiIssuer] | None = None

    def check(self) -> None:
        if self._watch.problem is not None:
            raise AuthorityUnavailable(self._watch.problem)

    async def look(self) -> PkiIssuer:
        try:
            issuer = await self._judged()
        except AuthorityUnavailable as error:
            self._watch.failed(str(error))
            raise
        self._watch.lasts_until(issuer.validity.not_after)
        self._watch.well()
        return issuer

    async def sign(self, order: Order) -> tuple[bytes, ...]:
        return await self._engine.sign(order)

    async def run(self, roots: Callable[[Published], Awaitable[object]]) -> None:
        """Until cancelled. `roots` is told what is published after each look."""
        while True:
            with suppress(AuthorityUnavailable, StoreError):  # told of elsewhere; the next look tries again
                issuer = await self.look()
                await roots(Published(NAME, issuer.roots))
            await asyncio.sleep(self._interval * (0.9 + 0.2 * self._clock.jitter()))

    async def _judged(self) -> PkiIssuer:
        """Raises AuthorityUnavailable."""
        engine = await self._engine.engine(with_roots=self._bundle is None)
        if self._bundle is not None:
            engine = replace(engine, unverified_roots=await asyncio.to_thread(_roots, self._bundle))
        now = self._clock.now()
        if self._seen is None or self._seen[0] != engine or not self._seen[1].validity.covers(now):
            self._seen = (engine, await asyncio.to_thread(judge, engine, self._trust_domain, now))
        return self._seen[1]


def _roots(bundle: Path) -> tuple[bytes, ...]:
    """Blocks. Raises AuthorityUnavailable."""
    try:
        found = x509.load_pem_x509_certificates(read_file(bundle))
    except ValueError as error:
        raise AuthorityUnavailable(f"{bundle} holds no PEM certificate, or one that cannot be read") from error
    return tuple(one.public_bytes(Encoding.DER) for one in found)

"""The connection to another sds server above this one, whose agent this server is.

It follows the upstream's bundle, keeps its own SVID fresh and asks for signing certificates. Nothing else of this
server waits for it.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration

from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle
from ca.csr import build_csr
from ca.errors import AuthorityUnavailable
from ca.keys import KeyType, generate, to_pkcs8_pem
from ca.lifetime import renew_at
from ca.upstreams.following import Published
from ca.upstreams.nested import NAME, Intermediate
from sds import __version__
from sds._pb.sds.node.v1 import node_pb2
from sds.agent import convert
from sds.agent.datadir import DataFolder
from sds.agent.dial import LinkOptions, NodeLink
from sds.agent.enrol import Enroller, Enrolment, accept
from sds.agent.errors import AgentError, AgentRefused, CannotStart, DataFolderUnusable, ServerUnreachable
from sds.agent.identity import AgentIdentity
from sds.backoff import Backoff
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.upstream.stream import Stream
from sds.server.upstream.watch import UpstreamWatch
from sds.store.errors import StoreError

SILENCE = 120.0
"""Seconds without a word from the upstream after which it is taken for stuck; it sends heartbeats."""
TICK = 2.0
"""Seconds; bounds how long a jump of the wall clock, or a fleet that has the new bundle, goes unnoticed."""
CONNECT_PATIENCE = 5.0
"""Seconds that a signing certificate waits for a connection."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the upstream is, and how to prove ourselves to it the first time."""

    server: str
    attest_server: str
    trust_bundle: Path | None
    join_token_file: Path | None


class RootsTaker(Protocol):
    """See sds.server.upstream.roots.Roots."""

    async def follow(self, published: Published) -> int: ...

    async def everywhere(self, sequence: int) -> bool: ...


class UpstreamServer:
    """Implements ca.upstreams.nested.IntermediateSource. `run` has to run beside it."""

    def __init__(
        self,
        place: Place,
        folder: DataFolder,
        trust_domain: TrustDomain,
        options: LinkOptions,
        backoff: Backoff,
        watch: UpstreamWatch,
        clock: Clock,
    ) -> None:
        self._place = place
        self._folder = folder
        self._trust_domain = trust_domain
        self._options = options
        self._backoff = backoff
        self._watch = watch
        self._clock = clock
        self._log = get_logger(__name__)
        self._enroller: Enroller | None = None
        self._identity: AgentIdentity | None = None
        self._due = datetime.max.replace(tzinfo=UTC)
        self._link: NodeLink | None = None
        self._connected = asyncio.Event()
        self._failures = 0
        self._run_id = uuid4().hex
        self._reports = 0
        self._reported = 0  # the upstream's bundle that all of our fleet is known to have

    def check(self) -> None:
        """See ca.upstreams.nested.IntermediateSource."""
        if self._watch.problem is not None:
            raise AuthorityUnavailable(self._watch.problem)

    async def sign(self, csr: bytes, lifetime: timedelta) -> Intermediate:
        ttl = Duration()
        ttl.FromTimedelta(lifetime)
        try:
            async with asyncio.timeout(CONNECT_PATIENCE):
                await self._connected.wait()
            link = self._link
            if link is None:
                raise ServerUnreachable("the connection was just lost")
            answer = await link.sign_intermediate(node_pb2.SignIntermediateRequest(csr=csr, ttl=ttl))
        except TimeoutError:
            raise AuthorityUnavailable(self._watch.problem or "there is no connection to the upstream server") from None
        except AgentError as error:
            raise AuthorityUnavailable(f"the upstream server {self._place.server} does not sign: {error}") from error
        return Intermediate(tuple(answer.certificate_chain), tuple(answer.upstream_roots))

    async def run(self, roots: RootsTaker) -> None:
        """Until cancelled. Raises nothing but what is a bug."""
        try:
            while True:
                try:
                    await self._once(roots)
                except AgentError as error:
                    await self._lose(None)
                    self._failures += 1
                    self._watch.failed(f"the upstream server {self._place.server}: {error}")
                    delay = self._backoff.delay(self._failures, self._clock.jitter())
                    await asyncio.sleep(delay.total_seconds())
        finally:
            await self._lose(None)

    async def _once(self, roots: RootsTaker) -> None:
        """One connection, until the SVID is another one. Raises AgentError."""
        identity = await self._current_identity()
        link = NodeLink(self._place.server, identity, self._options)
        try:
            await self._follow(link, roots)
        finally:
            if self._link is link:
                await self._lose(self._options.call_timeout.total_seconds())
            else:
                await link.close()

    async def _current_identity(self) -> AgentIdentity:
        """Our SVID with the upstream; a first or new one by a join token. Raises AgentError."""
        if self._identity is None:
            self._identity = await asyncio.to_thread(self._folder.load_identity)
        identity = self._identity
        if identity is None or identity.expired(self._clock.now()):
            identity = await self._enrol(identity)
            await self._keep(identity)
            self._log.info("enrolled with the upstream server", spiffe_id=str(identity.svid.spiffe_id))
        self._due = self._renewal_of(identity)
        return identity

    async def _enrol(self, former: AgentIdentity | None) -> AgentIdentity:
        """Raises AgentError, so that the alarm is raised and this is tried again."""
        place = self._place
        if place.trust_bundle is None and former is None:
            raise CannotStart(
                "it is not known yet: save there what `sds bundle show` prints and name the file "
                "with ca.upstream.sds.trust_bundle"
            )
        if place.join_token_file is None:
            raise CannotStart(
                "this server has no valid SVID there: make a token with `sds token create --downstream` there and name "
                "its file with ca.upstream.sds.join_token_file"
            )
        if self._enroller is None:  # one for all tries: it knows which tokens were refused
            enrolment = Enrolment(place.attest_server, place.trust_bundle, place.join_token_file, lambda: former)
            self._enroller = Enroller(enrolment, self._options, self._backoff, self._clock, self._log)
        identity = await self._enroller.once()
        if identity.bundle.trust_domain != self._trust_domain:
            raise CannotStart(f"it is of the trust domain {identity.bundle.trust_domain}, not {self._trust_domain}")
        self._enroller = None
        return identity

    async def _follow(self, link: NodeLink, roots: RootsTaker) -> None:
        """Do what the upstream says until our SVID is another one. Raises AgentError."""
        request = node_pb2.WatchAuthorizedRequest(agent_version=__version__)
        async with (
            aclosing(link.watch(request)) as messages,
            aclosing(Stream(messages, self._clock, SILENCE)) as stream,
        ):
            while True:
                message = await stream.next(TICK)
                if message is not None:
                    await self._take_in(message, link)
                if self._link is link and await self._tend(link, roots):
                    return

    async def _take_in(self, message: node_pb2.WatchAuthorizedResponse, link: NodeLink) -> None:
        identity = self._identity
        if identity is None:
            return
        update = convert.update(message, identity.svid.spiffe_id)
        for problem in update.rejected:
            self._log.error("the upstream server sent something that is not understood", problem=problem)
        if update.bundle is not None and update.bundle != identity.bundle:
            self._log.info("the upstream's trust bundle has changed", authorities=len(update.bundle.x509_authorities))
            identity = replace(identity, bundle=update.bundle)
            await self._keep(identity)
            if not identity.trusted(self._clock.now()):
                self._due = self._clock.now()
        if self._link is not link:
            self._link, self._failures = link, 0
            self._connected.set()
            self._watch.well()
            self._log.info("connected to the upstream server", address=self._place.server)

    async def _tend(self, link: NodeLink, roots: RootsTaker) -> bool:
        """What is due now; whether the SVID is another one. Raises AgentError."""
        identity = self._identity
        if identity is None:
            return True
        try:
            await self._hand_on(identity.bundle, link, roots)
        except StoreError as error:
            self._log.warning("the upstream's roots could not be taken in yet", reason=str(error))
        if self._clock.now() < self._due:
            return False
        await self._renew(link, identity)
        return True

    async def _hand_on(self, bundle: TrustBundle, link: NodeLink, roots: RootsTaker) -> None:
        """Publish the upstream's roots, and tell it once everybody here has them: it waits for that before it signs
        with a new one. Raises AgentError, StoreError.
        """
        published = Published(NAME, bundle.x509_authorities, bundle.tainted, complete=True)
        sequence = await roots.follow(published)
        if bundle.sequence == self._reported or not await roots.everywhere(sequence):
            return
        self._reports += 1
        await link.report(
            node_pb2.ReportDeliveryRequest(
                run_id=self._run_id, sequence=self._reports, snapshot=True, bundle_sequence=bundle.sequence
            )
        )
        self._reported = bundle.sequence

    async def _renew(self, link: NodeLink, identity: AgentIdentity) -> None:
        """Raises AgentError."""
        key = await asyncio.to_thread(generate, KeyType.ECDSA_P256)
        answer = await link.renew(build_csr(key))
        renewed = accept(answer.svid, answer.bundle, to_pkcs8_pem(key), self._clock)
        if renewed.svid.spiffe_id != identity.svid.spiffe_id:
            raise AgentRefused("it renewed this server's SVID with another SPIFFE ID")
        await self._keep(renewed)
        self._log.info("renewed this server's SVID at its upstream", not_after=renewed.svid.not_after.isoformat())

    async def _keep(self, identity: AgentIdentity) -> None:
        """For now and for the next start."""
        self._identity = identity
        try:
            await asyncio.to_thread(self._folder.save_identity, identity)
        except DataFolderUnusable as error:
            self._log.error("the SVID at the upstream could not be saved; a restart needs a new one", reason=str(error))

    def _renewal_of(self, identity: AgentIdentity) -> datetime:
        svid = identity.svid
        if not identity.trusted(self._clock.now()):
            return self._clock.now()
        return renew_at(svid.not_before, svid.not_after, self._clock.jitter())

    async def _lose(self, grace: float | None) -> None:
        link, self._link = self._link, None
        self._connected.clear()
        if link is not None:
            await link.close(grace)

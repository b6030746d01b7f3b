"""The Node service (proto/sds/node/v1): renew, watch, sign, report. The caller is known from its certificate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from datetime import timedelta
from typing import Protocol

import grpc

from sds._pb.sds.node.v1 import node_pb2
from sds.audit.event import Target
from sds.clock import Clock
from sds.logs import get_logger
from sds.net.limits import Caps
from sds.server import convert
from sds.server.agent_reports.report import parse_report
from sds.server.authorized import NOT_AUTHORIZED, NotSigned, SignCode
from sds.server.certificates import CertificateJob, CertificateSigner
from sds.server.downstream.api import DownstreamApi
from sds.server.enrolment import Enrolment
from sds.server.events import agent_actor
from sds.server.identity import AgentCaller, CallerCheck, Unwelcome
from sds.server.jwt.convert import jwt_result
from sds.server.jwt.events import ACTION as TOKEN_ISSUE
from sds.server.jwt.signing import JwtJob, TokenSigner
from sds.server.refusals import Refusal, RefusalLog
from sds.server.registry import Registry
from sds.server.reports import Reports
from sds.server.revocation.staples import Staples
from sds.server.rpc import BidiStream, Call, CallRefused, Method, ServerStream, Unary
from sds.server.secrets.stream import SecretStreams
from sds.server.watch import Update, WatchEnded, Watcher

SERVICE = "sds.node.v1.Node"
MAX_EPOCH_BYTES = 128
MAX_VERSION = 64
MAX_ENTRY_ID = 128
"""Characters of an entry ID that does not exist, as the audit log shows it."""
IDENTITY_CHECK = 5.0
"""Seconds between two looks at a silent stream's caller. A ban or a deletion wakes the stream at once."""


class NodeObserver(Protocol):
    """Is told what the service does, for metrics."""

    def attested(self, type_: str, outcome: str) -> None: ...

    def watches(self, streams: int, agents: int) -> None: ...

    def pushed(self, update: Update) -> None: ...


class NodeApi:
    """Handlers behind `rpc.Service`. `seen` is told of every call of a welcome agent, `running` of its version."""

    def __init__(
        self,
        check: CallerCheck,
        seen: Callable[[AgentCaller], None],
        running: Callable[[AgentCaller, str], None],
        registry: Registry,
        enrolment: Enrolment,
        signer: CertificateSigner,
        jwt_signer: TokenSigner,
        downstream: DownstreamApi,
        staples: Staples,
        reports: Reports,
        secrets: SecretStreams,
        refusals: RefusalLog,
        clock: Clock,
        observer: NodeObserver,
        *,
        heartbeat: timedelta,
        max_items: int,
        watches: Caps,
        audit_checkpoint: Callable[[], str],
    ) -> None:
        self._check = check
        self._seen = seen
        self._running = running
        self._registry = registry
        self._enrolment = enrolment
        self._signer = signer
        self._jwt_signer = jwt_signer
        self._downstream = downstream
        self._staples = staples
        self._reports = reports
        self._secrets = secrets
        self._refusals = refusals
        self._clock = clock
        self._observer = observer
        self._heartbeat = heartbeat.total_seconds()
        self._max_items = max_items
        self._watches = watches
        self._audit_checkpoint = audit_checkpoint
        self._log = get_logger(__name__)

    @property
    def methods(self) -> Mapping[str, Method]:
        return {
            "Renew": Unary(node_pb2.RenewRequest, self.renew),
            "WatchAuthorized": ServerStream(node_pb2.WatchAuthorizedRequest, self.watch),
            "SignX509Svids": Unary(node_pb2.SignX509SvidsRequest, self.sign),
            "SignJwtSvids": Unary(node_pb2.SignJwtSvidsRequest, self.sign_jwt),
            "SignIntermediate": Unary(node_pb2.SignIntermediateRequest, self.sign_intermediate),
            "OcspStaples": Unary(node_pb2.OcspStaplesRequest, self.ocsp_staples),
            "WatchSecrets": BidiStream(node_pb2.WatchSecretsRequest, self.watch_secrets),
            "ReportDelivery": Unary(node_pb2.ReportDeliveryRequest, self.report),
        }

    async def renew(self, request: node_pb2.RenewRequest, call: Call) -> node_pb2.RenewResponse:
        caller = await self._identify(call)
        try:
            issued = await self._enrolment.renew(caller, request.csr)
        except Exception:
            self._observer.attested("renewal", "failure")
            raise
        self._observer.attested("renewal", "success")
        self._log.info("agent renewed its certificate", agent=str(caller.agent_id), address=caller.address)
        return node_pb2.RenewResponse(svid=convert.svid(issued), bundle=convert.bundle(self._registry.bundle))

    async def sign(self, request: node_pb2.SignX509SvidsRequest, call: Call) -> node_pb2.SignX509SvidsResponse:
        caller = await self._identify(call)
        self._check_count(len(request.items))
        jobs = [
            CertificateJob(caller, item.entry_id, item.csr, convert.process(item.process)) for item in request.items
        ]
        answers = await self._signer.sign(jobs)
        asked = [job.entry_id for job in jobs]
        await self._note_unauthorized("certificate.issue", caller, asked, answers)
        return node_pb2.SignX509SvidsResponse(results=list(map(convert.sign_result, asked, answers)))

    async def sign_jwt(self, request: node_pb2.SignJwtSvidsRequest, call: Call) -> node_pb2.SignJwtSvidsResponse:
        caller = await self._identify(call)
        self._check_count(len(request.items))
        jobs = [
            JwtJob(caller, item.entry_id, tuple(item.audience), convert.process(item.process)) for item in request.items
        ]
        answers = await self._jwt_signer.sign(jobs)
        asked = [job.entry_id for job in jobs]
        await self._note_unauthorized(TOKEN_ISSUE, caller, asked, answers)
        return node_pb2.SignJwtSvidsResponse(results=list(map(jwt_result, asked, answers)))

    async def sign_intermediate(
        self, request: node_pb2.SignIntermediateRequest, call: Call
    ) -> node_pb2.SignIntermediateResponse:
        return await self._downstream.sign(await self._identify(call), request)

    async def ocsp_staples(self, request: node_pb2.OcspStaplesRequest, call: Call) -> node_pb2.OcspStaplesResponse:
        caller = await self._identify(call)
        self._check_count(len(request.serials))
        staples = await self._staples.of(caller.agent_id, request.serials)
        return node_pb2.OcspStaplesResponse(
            staples=[
                node_pb2.OcspStaple(
                    serial=serial,
                    response=answer.der,
                    this_update=convert.timestamp(answer.since),
                    next_update=convert.timestamp(answer.until),
                )
                for serial, answer in staples.items()
            ]
        )

    async def report(self, request: node_pb2.ReportDeliveryRequest, call: Call) -> node_pb2.ReportDeliveryResponse:
        caller = await self._identify(call)
        now = self._clock.now()
        resync = await self._reports.take_in(caller, parse_report(request, caller.agent_id, now), now)
        return node_pb2.ReportDeliveryResponse(resync=resync)

    async def watch(
        self, request: node_pb2.WatchAuthorizedRequest, call: Call
    ) -> AsyncGenerator[node_pb2.WatchAuthorizedResponse, None]:
        """Ends only with an error: the caller is not welcome any more, or this server shuts down."""
        caller = await self._identify(call)
        if len(request.resume_epoch) > MAX_EPOCH_BYTES:
            raise CallRefused(grpc.StatusCode.INVALID_ARGUMENT, "resume_epoch is none that this server gave out")
        if request.agent_version:
            self._running(caller, convert.text(request.agent_version, MAX_VERSION))
        with self._watching(caller, request) as watcher:
            heard = self._clock.monotonic()
            first = True
            while True:
                self._check.check(caller)
                try:
                    update = watcher.take()
                except WatchEnded as end:
                    raise CallRefused(grpc.StatusCode.UNAVAILABLE, str(end)) from None
                if update is None and self._clock.monotonic() - heard >= self._heartbeat:
                    self._seen(caller)
                    update = Update(self._registry.revision, self._registry.epoch)
                if update is None:
                    await watcher.wait(min(IDENTITY_CHECK, heard + self._heartbeat - self._clock.monotonic()))
                    continue
                yield convert.update(update, self._clock.now(), self._audit_checkpoint())
                heard = self._clock.monotonic()
                if not first and not update.snapshot:
                    self._observer.pushed(update)
                first = False

    async def watch_secrets(
        self, requests: AsyncIterator[node_pb2.WatchSecretsRequest], call: Call
    ) -> AsyncGenerator[node_pb2.WatchSecretsResponse, None]:
        caller = await self._identify(call)
        async with aclosing(self._secrets.serve(requests, caller, self._check, self._seen)) as responses:
            async for response in responses:
                yield response

    @contextmanager
    def _watching(self, caller: AgentCaller, request: node_pb2.WatchAuthorizedRequest) -> Iterator[Watcher]:
        """A watcher for as long as the stream lasts, within the caps."""
        met = self._watches.acquire(caller.agent_id)
        if met is not None:
            whose = "of this agent " if met == "key" else ""
            raise CallRefused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"too many watch streams {whose}are open")
        watcher = self._registry.watch(
            caller.agent_id, request.resume_revision, request.resume_epoch, now=self._clock.now()
        )
        self._observer.watches(self._registry.watchers, self._registry.agents_watching)
        log = self._log.bind(agent=str(caller.agent_id), address=caller.address)
        log.info("agent watches", resume_revision=request.resume_revision)
        try:
            yield watcher
        finally:
            log.info("agent watches no more")
            watcher.close()
            self._watches.release(caller.agent_id)
            self._observer.watches(self._registry.watchers, self._registry.agents_watching)

    def _check_count(self, items: int) -> None:
        if items > self._max_items:
            raise CallRefused(
                grpc.StatusCode.INVALID_ARGUMENT, f"at most {self._max_items} requests may be in one call; split it"
            )

    async def _note_unauthorized(
        self, action: str, caller: AgentCaller, asked: Sequence[str], answers: Sequence[object]
    ) -> None:
        """Audit what `caller` asked for and may not have: each entry once, however often the call names it."""
        entries = {
            convert.text(entry_id, MAX_ENTRY_ID)
            for entry_id, answer in zip(asked, answers, strict=True)
            if isinstance(answer, NotSigned) and answer.code is SignCode.NOT_AUTHORIZED
        }
        if not entries:
            return
        actor = agent_actor(caller.agent_id, caller.address)
        refusals = [
            Refusal(
                action=action,
                actor=actor,
                target=Target("entry", entry_id),
                reason=NOT_AUTHORIZED.message,
                request_id=caller.request_id,
                source=actor.id,
            )
            for entry_id in sorted(entries)
        ]
        await asyncio.gather(*map(self._refusals.note, refusals))

    async def _identify(self, call: Call) -> AgentCaller:
        """Who calls. A sound certificate of one who may not call is audited: somebody tries what he should not."""
        try:
            caller = await self._check.identify(call)
        except Unwelcome as refusal:
            svid = refusal.svid
            await self._refusals.note(
                Refusal(
                    action="node.call",
                    actor=agent_actor(svid.spiffe_id, self._check.address_of(call.peer)),
                    target=Target("method", call.method),
                    reason=str(refusal),
                    request_id=call.request_id,
                    details={"serial": svid.serial},
                )
            )
            raise
        self._seen(caller)
        return caller

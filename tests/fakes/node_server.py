"""A small sds server for agents: real grpc.aio, real TLS, real certificates; state and mishaps are the test's to set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from attestation.node.join_token import REFUSAL
from attestation.spiffe_id import SpiffeId
from ca.authority import SigningAuthority
from ca.bundle import TrustBundle
from ca.csr import parse_csr
from ca.errors import CaError
from ca.intent import IssueRequest
from ca.profile import ProfileName
from ca.svid import parse_svid_pem
from sds._pb.sds.node.v1 import node_pb2
from tests.fakes.ca import TRUST_DOMAIN, Holder, issue_one, make_authority, make_bundle_of, make_svid
from tests.fakes.node_secrets import FakeSecrets

AGENT_ID = "spiffe://example.org/sds/agent/join_token/1"
TOKEN = "a-join-token"

BundleHook = Callable[[node_pb2.Bundle], node_pb2.Bundle]
SignHook = Callable[[node_pb2.SignItem, node_pb2.SignResult], node_pb2.SignResult]


@dataclass
class Mishaps:
    """What goes wrong while it is set. A pair is a status to abort with."""

    attest: tuple[grpc.StatusCode, str] | None = None
    renew: tuple[grpc.StatusCode, str] | None = None
    watch: tuple[grpc.StatusCode, str] | None = None
    sign: tuple[grpc.StatusCode, str] | None = None
    report: tuple[grpc.StatusCode, str] | None = None
    sign_result: SignHook = lambda _, result: result
    bundle: BundleHook = lambda bundle: bundle
    renew_as: str = ""  # the SPIFFE ID in renewed SVIDs
    stranger: SigningAuthority | None = None  # signs agents' SVIDs instead of an authority of the bundle
    impostor: Holder | None = None  # answers with this certificate instead of the server's
    clock_offset: timedelta = timedelta(0)
    resync: bool = False
    report_waits: asyncio.Event | None = None  # for this, before a report is answered


@dataclass
class Seen:
    """What agents asked, in order."""

    attests: list[node_pb2.AttestRequest] = field(default_factory=list)
    renewals: int = 0
    watches: list[node_pb2.WatchAuthorizedRequest] = field(default_factory=list)
    signs: list[node_pb2.SignX509SvidsRequest] = field(default_factory=list)
    reports: list[node_pb2.ReportDeliveryRequest] = field(default_factory=list)
    serials: list[str] = field(default_factory=list)  # of the client certificate of each watch


class FakeNodeServer:
    def __init__(self) -> None:
        self.authorities: list[SigningAuthority] = [make_authority(now=datetime.now(UTC))]
        self.sequence = 1
        self.crls: tuple[bytes, ...] = ()
        self.tainted: frozenset[str] = frozenset()
        self.tokens = {TOKEN: AGENT_ID}
        self.agent_ttl: timedelta | None = None
        self.svid_ttl = timedelta(hours=1)
        self.mishaps = Mishaps()
        self.seen = Seen()
        self.secrets = FakeSecrets()
        self.epoch = "epoch-1"
        self.revision = 0
        self.ports = (0, 0)
        self._entries: dict[str, node_pb2.Entry] = {}
        self._changes: dict[str, int] = {}  # entry ID or "bundle" -> the revision at which it last changed
        self._changed = asyncio.Condition()
        self._servers: list[grpc.aio.Server] = []

    # Life

    async def start(self) -> None:
        """On any ports at first, on the same ones after a stop."""
        node = grpc.aio.server()
        node.add_generic_rpc_handlers((self._node_handlers(),))
        attest = grpc.aio.server()
        attest.add_generic_rpc_handlers((self._attest_handlers(),))
        self.ports = (
            node.add_secure_port(f"127.0.0.1:{self.ports[0]}", self._credentials(True)),
            attest.add_secure_port(f"127.0.0.1:{self.ports[1]}", self._credentials(False)),
        )
        self._servers = [node, attest]
        for server in self._servers:
            await server.start()

    async def stop(self) -> None:
        """As kill -9 looks to its clients."""
        servers, self._servers = self._servers, []
        for server in servers:
            await server.stop(None)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports[0]}"

    @property
    def attest_address(self) -> str:
        return f"127.0.0.1:{self.ports[1]}"

    @property
    def bundle(self) -> TrustBundle:
        bundle = make_bundle_of(*self.authorities, sequence=self.sequence)
        return replace(bundle, crls=self.crls, tainted=self.tainted)

    # State

    async def put(
        self,
        entry_id: str,
        path: str,
        *selectors: str,
        dns: tuple[str, ...] = (),
        hint: str = "",
        expires_at: datetime | None = None,
    ) -> None:
        """Create or change an entry."""
        former = self._entries.get(entry_id)
        now = Timestamp()
        now.FromDatetime(datetime.now(UTC))
        self._entries[entry_id] = node_pb2.Entry(
            id=entry_id,
            revision=former.revision + 1 if former else 1,
            spiffe_id=f"spiffe://{TRUST_DOMAIN}{path}",
            selectors=selectors,
            dns_names=dns,
            hint=hint,
            created_at=former.created_at if former else now,
            updated_at=now,
            expires_at=None if expires_at is None else _timestamp(expires_at),
        )
        await self._bump(entry_id)

    async def delete(self, entry_id: str) -> None:
        del self._entries[entry_id]
        await self._bump(entry_id)

    async def add_authority(self) -> SigningAuthority:
        """A second authority in the bundle; the first goes on signing until `authorities` is changed."""
        authority = make_authority(now=datetime.now(UTC))
        self.authorities.append(authority)
        await self.announce_bundle()
        return authority

    async def announce_bundle(self) -> None:
        self.sequence += 1
        await self._bump("bundle")

    async def heartbeat(self) -> None:
        """Say something on every watch."""
        await self._bump("")

    async def _bump(self, what: str) -> None:
        async with self._changed:
            self.revision += 1
            self._changes[what] = self.revision
            self._changed.notify_all()

    # Calls

    async def _attest(self, request: node_pb2.AttestRequest, context: Any) -> node_pb2.AttestResponse:
        self.seen.attests.append(request)
        await _mishap(self.mishaps.attest, context)
        agent_id = self.tokens.pop(request.payload.decode(), None)
        if agent_id is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, REFUSAL)
            raise AssertionError
        return node_pb2.AttestResponse(svid=self._agent_svid(agent_id, request.csr), bundle=self._bundle())

    async def _renew(self, request: node_pb2.RenewRequest, context: Any) -> node_pb2.RenewResponse:
        await _mishap(self.mishaps.renew, context)
        self.seen.renewals += 1
        agent_id = self.mishaps.renew_as or str(_caller(context).spiffe_id)
        return node_pb2.RenewResponse(svid=self._agent_svid(agent_id, request.csr), bundle=self._bundle())

    async def _watch(
        self, request: node_pb2.WatchAuthorizedRequest, context: Any
    ) -> AsyncIterator[node_pb2.WatchAuthorizedResponse]:
        self.seen.watches.append(request)
        self.seen.serials.append(_caller(context).serial)
        await _mishap(self.mishaps.watch, context)
        known = request.resume_revision if request.resume_epoch == self.epoch else 0
        since, known = known, self.revision
        yield self._update(since, snapshot=since == 0)
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda since=known: self.revision > since or self.mishaps.watch)
            await _mishap(self.mishaps.watch, context)
            since, known = known, self.revision
            yield self._update(since, snapshot=False)

    async def cut_watches(self, code: grpc.StatusCode, details: str) -> None:
        """End every watch, and refuse new ones, until `mishaps.watch` is None again."""
        self.mishaps.watch = (code, details)
        async with self._changed:
            self._changed.notify_all()

    def _update(self, since: int, *, snapshot: bool) -> node_pb2.WatchAuthorizedResponse:
        changed = {what for what, revision in self._changes.items() if revision > since} - {"", "bundle"}
        wanted = set(self._entries) if snapshot else changed & self._entries.keys()
        news = snapshot or self._changes.get("bundle", 0) > since
        return node_pb2.WatchAuthorizedResponse(
            revision=self.revision,
            epoch=self.epoch,
            snapshot=snapshot,
            upserted=[self._entries[entry_id] for entry_id in sorted(wanted)],
            removed_entry_ids=[] if snapshot else sorted(changed - self._entries.keys()),
            bundle=self._bundle() if news else None,
            server_time=_timestamp(datetime.now(UTC) + self.mishaps.clock_offset),
        )

    async def _sign(self, request: node_pb2.SignX509SvidsRequest, context: Any) -> node_pb2.SignX509SvidsResponse:
        self.seen.signs.append(request)
        await _mishap(self.mishaps.sign, context)
        return node_pb2.SignX509SvidsResponse(
            results=[self.mishaps.sign_result(item, self._sign_one(item)) for item in request.items]
        )

    def _sign_one(self, item: node_pb2.SignItem) -> node_pb2.SignResult:
        entry = self._entries.get(item.entry_id)
        if entry is None:
            error = node_pb2.SignError(code=node_pb2.SignError.CODE_NOT_AUTHORIZED, message="no such entry")
            return node_pb2.SignResult(entry_id=item.entry_id, error=error)
        try:
            csr = parse_csr(item.csr)
            wanted = SpiffeId.parse(entry.spiffe_id)
            asked = IssueRequest(ProfileName.WORKLOAD, wanted, csr, tuple(entry.dns_names), self.svid_ttl)
            issued = issue_one(asked, self.authorities[-1], datetime.now(UTC))
        except CaError as error:
            refused = node_pb2.SignError(code=node_pb2.SignError.CODE_CSR_REFUSED, message=str(error))
            return node_pb2.SignResult(entry_id=item.entry_id, error=refused)
        return node_pb2.SignResult(
            entry_id=item.entry_id,
            entry_revision=entry.revision,
            svid=node_pb2.X509Svid(spiffe_id=entry.spiffe_id, certificate_chain=issued.chain),
        )

    async def _report(self, request: node_pb2.ReportDeliveryRequest, context: Any) -> node_pb2.ReportDeliveryResponse:
        await _mishap(self.mishaps.report, context)
        self.seen.reports.append(request)
        if self.mishaps.report_waits is not None:
            await self.mishaps.report_waits.wait()
        resync, self.mishaps.resync = self.mishaps.resync, False
        return node_pb2.ReportDeliveryResponse(resync=resync)

    # Parts

    def _agent_svid(self, agent_id: str, csr: bytes) -> node_pb2.X509Svid:
        asked = IssueRequest(ProfileName.AGENT, SpiffeId.parse(agent_id), parse_csr(csr), (), self.agent_ttl)
        issued = issue_one(asked, self.mishaps.stranger or self.authorities[-1], datetime.now(UTC))
        return node_pb2.X509Svid(
            spiffe_id=agent_id, certificate_chain=issued.chain, not_after=_timestamp(issued.intent.not_after)
        )

    def _bundle(self) -> node_pb2.Bundle:
        bundle = self.bundle
        message = node_pb2.Bundle(
            trust_domain=bundle.trust_domain.name,
            x509_authorities=bundle.x509_authorities,
            sequence=bundle.sequence,
            refresh_hint=Duration(seconds=300),
            crls=bundle.crls,
            tainted_authorities=bundle.tainted,
        )
        return self.mishaps.bundle(message)

    def _credentials(self, client_certificate: bool) -> grpc.ServerCredentials:
        def configuration() -> grpc.ServerCertificateConfiguration:
            holder = self.mishaps.impostor or make_svid(
                f"spiffe://{TRUST_DOMAIN}/sds/server",
                self.authorities[-1],
                profile=ProfileName.SERVER,
                now=datetime.now(UTC),
            )
            return grpc.ssl_server_certificate_configuration(
                [(holder.key_pem.reveal(), holder.chain_pem)], self.bundle.pem()
            )

        return grpc.dynamic_ssl_server_credentials(configuration(), configuration, client_certificate)

    def _node_handlers(self) -> grpc.GenericRpcHandler[Any, Any]:
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        duplex = grpc.stream_stream_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            "sds.node.v1.Node",
            {
                "Renew": unary(self._renew, node_pb2.RenewRequest.FromString, _bytes),
                "WatchAuthorized": stream(self._watch, node_pb2.WatchAuthorizedRequest.FromString, _bytes),
                "SignX509Svids": unary(self._sign, node_pb2.SignX509SvidsRequest.FromString, _bytes),
                "WatchSecrets": duplex(self.secrets.serve, node_pb2.WatchSecretsRequest.FromString, _bytes),
                "ReportDelivery": unary(self._report, node_pb2.ReportDeliveryRequest.FromString, _bytes),
            },
        )

    def _attest_handlers(self) -> grpc.GenericRpcHandler[Any, Any]:
        handler = grpc.unary_unary_rpc_method_handler(self._attest, node_pb2.AttestRequest.FromString, _bytes)
        return grpc.method_handlers_generic_handler("sds.node.v1.NodeAttestation", {"Attest": handler})


async def _mishap(mishap: tuple[grpc.StatusCode, str] | None, context: Any) -> None:
    if mishap is not None:
        await context.abort(*mishap)


def _caller(context: Any) -> Any:
    return parse_svid_pem(context.auth_context()["x509_pem_cert"][0])


def _timestamp(when: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(when)
    return message


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString())

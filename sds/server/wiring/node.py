"""The two gRPC listeners and what answers on them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from ca.jwt_svid import JwtIssuer
from ca.serial import RandomSerials
from sds.config import ServerConfig
from sds.net.limits import Caps
from sds.server import options
from sds.server.agent_records import AgentRecords
from sds.server.attest_api import SERVICE as ATTEST_SERVICE
from sds.server.attest_api import AttestApi
from sds.server.certificates import Certificates, CertificateSigner
from sds.server.datadir import DataDir
from sds.server.downstream.api import DownstreamApi
from sds.server.downstream.intermediates import Intermediates
from sds.server.enrolment import Enrolment
from sds.server.housekeeping import LastSeen
from sds.server.identity import AgentCaller, CallerCheck
from sds.server.issuance import Issuance
from sds.server.issuing.orders import Issuing
from sds.server.jwt.signing import Tokens, TokenSigner
from sds.server.listener import AgentConnections, Listener, find_connection
from sds.server.node_api import SERVICE as NODE_SERVICE
from sds.server.node_api import NodeApi
from sds.server.own_svid import OwnSvid
from sds.server.refusals import RefusalLog
from sds.server.reports import Reports
from sds.server.revocation.staples import Staples
from sds.server.rpc import Service
from sds.server.secrets.stream import SecretStreams
from sds.server.signing import BatchSigner, Craft, IntentT, JobT, SignedT
from sds.server.telemetry import ConnectionTelemetry
from sds.server.tls import RotatingTls
from sds.server.wiring.core import Core


def certificate_signer(core: Core, issuing: Issuing) -> CertificateSigner:
    return _signer(core, Certificates(issuing, core.authorities, core.events))


def token_signer(core: Core, executor: ThreadPoolExecutor) -> TokenSigner:
    issuer = JwtIssuer(options.jwt_policy(core.config), lambda: uuid4().hex)
    return _signer(core, Tokens(issuer, core.authorities, core.events, executor))


def _signer(core: Core, craft: Craft[JobT, IntentT, SignedT]) -> BatchSigner[JobT, IntentT, SignedT]:
    limits = core.config.limits
    return BatchSigner(
        craft,
        core.store,
        core.registry,
        core.clock,
        core.telemetry,
        max_batch=limits.max_signing_batch,
        max_waiting=limits.max_signing_queue,
        max_of_one_agent=max(limits.max_signing_queue // 4, limits.max_csr_batch),
        passing=core.passing,
    )


def listeners(
    core: Core,
    data_dir: DataDir,
    issuance: Issuance,
    signer: CertificateSigner,
    tokens: TokenSigner,
    secrets: SecretStreams,
    refusals: RefusalLog,
    seen: LastSeen,
    own_svid: OwnSvid,
) -> tuple[Listener, Listener, Callable[[ServerConfig], None]]:
    """The two gRPC listeners, for agents with an SVID and for those without, and what can change their limits."""
    config, clock, telemetry, limits = core.config, core.clock, core.telemetry, core.config.limits
    connections = AgentConnections()
    made: list[Listener] = []
    find = find_connection(made)

    def address_of(peer: str) -> str:
        connection = find(peer)
        return "" if connection is None else connection.peer.host

    def note(caller: AgentCaller) -> None:
        seen.note(caller)
        connection = find(caller.peer)
        if connection is not None:
            connections.seen(caller.agent_id, connection)

    core.registry.on_agent(connections.agent_changed)
    enrolment = Enrolment(issuance, core.events, clock, config.trust_domain, limits.max_csr_bytes)
    attest_api = _attest_api(core, enrolment, refusals, address_of)
    node_api = _node_api(core, enrolment, signer, tokens, secrets, refusals, note, seen.note_version, address_of)
    for name, service, methods in (
        ("main", NODE_SERVICE, node_api.methods),
        ("attest", ATTEST_SERVICE, attest_api.methods),
    ):
        made.append(
            Listener(
                name,
                [Service(service, methods, telemetry, clock.monotonic)],
                RotatingTls(own_svid.current, client_certificate=name == "main"),
                data_dir.sockets,
                options.listener_options(config, known_peers=name == "main"),
                ConnectionTelemetry(telemetry.metrics, name),
                clock,
            )
        )
    return made[0], made[1], lambda new: attest_api.use(options.attest_rates(new))


def _attest_api(core: Core, enrolment: Enrolment, refusals: RefusalLog, address_of: Callable[[str], str]) -> AttestApi:
    return AttestApi(
        core.store,
        enrolment,
        lambda: core.registry.bundle,
        refusals,
        options.attest_rates(core.config),
        address_of,
        core.clock,
        core.telemetry,
    )


def _downstream_api(core: Core, refusals: RefusalLog) -> DownstreamApi:
    intermediates = Intermediates(
        core.store,
        core.registry,
        core.authorities,
        options.intermediate_policy(core.config),
        lambda: core.registry.bundle.x509_authorities,
        RandomSerials(os.urandom),
        core.events,
        core.clock,
        core.telemetry,
        core.passing,
    )
    return DownstreamApi(intermediates, refusals)


def _node_api(
    core: Core,
    enrolment: Enrolment,
    signer: CertificateSigner,
    tokens: TokenSigner,
    secrets: SecretStreams,
    refusals: RefusalLog,
    note: Callable[[AgentCaller], None],
    note_version: Callable[[AgentCaller, str], None],
    address_of: Callable[[str], str],
) -> NodeApi:
    config, limits = core.config, core.config.limits
    return NodeApi(
        CallerCheck(core.registry, AgentRecords(core.store), config.trust_domain, core.clock, address_of),
        note,
        note_version,
        core.registry,
        enrolment,
        signer,
        tokens,
        _downstream_api(core, refusals),
        Staples(core.store, core.ocsp),
        Reports(core.store, core.events, core.telemetry),
        secrets,
        refusals,
        core.clock,
        core.telemetry,
        heartbeat=config.grpc.heartbeat,
        max_items=limits.max_csr_batch,
        watches=Caps(limits.max_watch_streams, limits.max_watch_streams_per_agent),
        audit_checkpoint=lambda: core.sinks.watch.note,
    )

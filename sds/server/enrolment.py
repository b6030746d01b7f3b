"""How an agent gets its own X.509-SVID: at first by evidence, later by the one it has."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime

import grpc

from attestation.attestor import AttestedNode, Evidence
from attestation.catalog import NodeParts, node_attestor
from attestation.errors import AttestationRefused, InvalidEntry
from attestation.node.join_token import REFUSAL, JoinToken
from attestation.rules import check_agent_id
from attestation.spiffe_id import TrustDomain
from ca.csr import VerifiedCsr, parse_csr
from ca.errors import CsrRefused
from ca.intent import CertificateIntent, IssuedCertificate, IssueRequest
from ca.profile import ProfileName
from sds.audit.event import Actor, Json, Target
from sds.clock import Clock
from sds.server.events import Events, agent_actor
from sds.server.identity import AgentCaller
from sds.server.issuance import Issuance
from sds.server.rpc import CallRefused
from sds.server.transactions import Transactions
from sds.store.errors import Banned, NotFound, TokenRefused
from sds.store.records import AgentRecord
from sds.store.unit_of_work import UnitOfWork


class TokenClaim:
    """A join token within one attempt to attest. Implements attestation.node.join_token.JoinTokenStore.

    `consume` only finds out whether the token is good. It is used up by `settle`, in the transaction that also makes
    the agent, its certificate's intent and the audit events: a token is gone exactly when the log says what for.
    """

    def __init__(self, store: Transactions) -> None:
        self._store = store
        self._token_hash: str | None = None
        self.refused_because = ""
        """For the audit log: "unknown", "used" or "expired". The caller is not told which."""

    async def consume(self, token_hash: str, *, now: datetime, address: str) -> JoinToken:
        del address  # noted by settle
        try:
            token = await self._store.read(lambda uow: uow.tokens.find(token_hash, now))
        except TokenRefused as refusal:
            self.refused_because = refusal.why
            raise AttestationRefused(REFUSAL) from None
        self._token_hash = token_hash
        return JoinToken(token.spiffe_id, token.expires_at)

    def settle(self, uow: UnitOfWork, address: str) -> bool:
        """Use the token up, if this attempt rests on one; whether it makes a downstream server.

        Raises AttestationRefused: another attempt was faster.
        """
        if self._token_hash is None:
            return False
        try:
            return uow.tokens.consume(self._token_hash, uow.now, address).downstream
        except TokenRefused as refusal:
            self.refused_because = refusal.why
            raise AttestationRefused(REFUSAL) from None


class Enrolment:
    """Attests and renews agents."""

    def __init__(
        self,
        issuance: Issuance,
        events: Events,
        clock: Clock,
        trust_domain: TrustDomain,
        max_csr_bytes: int,
    ) -> None:
        self._issuance = issuance
        self._events = events
        self._clock = clock
        self._trust_domain = trust_domain
        self._max_csr_bytes = max_csr_bytes

    async def attest(
        self, claim: TokenClaim, evidence: Evidence, unverified_csr: bytes, address: str, request_id: str
    ) -> IssuedCertificate:
        """The agent's first SVID. Raises AttestationRefused, CsrRefused, CaError, StoreError.

        The CSR is judged before the evidence, so that a bad one costs no token.
        """
        csr = await self._parse(unverified_csr)
        attestor = node_attestor(NodeParts(join_tokens=claim))
        node = await attestor.attest(evidence, now=self._clock.now(), address=address)
        try:
            check_agent_id(node.agent_id, self._trust_domain)
        except InvalidEntry as problem:
            raise AttestationRefused(f"the evidence names no agent: {problem}") from None
        actor = agent_actor(node.agent_id, address)

        def decide(uow: UnitOfWork, intent: CertificateIntent) -> None:
            downstream = claim.settle(uow, address)
            self._admit(uow, intent, node, evidence.type, actor, request_id, downstream=downstream)

        return await self._issuance.issue(_request(node, csr), actor, request_id, decide)

    async def renew(self, caller: AgentCaller, unverified_csr: bytes) -> IssuedCertificate:
        """A fresh SVID for a known agent. Raises CallRefused, CsrRefused, CaError, StoreError."""
        csr = await self._parse(unverified_csr)
        actor = agent_actor(caller.agent_id, caller.address)

        def decide(uow: UnitOfWork, intent: CertificateIntent) -> None:
            self._readmit(uow, intent, caller, actor)

        try:
            request = IssueRequest(ProfileName.AGENT, caller.agent_id, csr)
            return await self._issuance.issue(request, actor, caller.request_id, decide)
        except (NotFound, Banned):  # a moment ago; the caller was welcome when the call began
            raise CallRefused(grpc.StatusCode.PERMISSION_DENIED, "this agent is banned or was deleted") from None

    async def _parse(self, unverified_csr: bytes) -> VerifiedCsr:
        if len(unverified_csr) > self._max_csr_bytes:
            raise CsrRefused(f"CSR has {len(unverified_csr)} bytes; at most {self._max_csr_bytes} are allowed")
        return await asyncio.to_thread(parse_csr, unverified_csr)

    def _admit(
        self,
        uow: UnitOfWork,
        intent: CertificateIntent,
        node: AttestedNode,
        type_: str,
        actor: Actor,
        request_id: str,
        *,
        downstream: bool,
    ) -> None:
        record = AgentRecord(
            spiffe_id=node.agent_id,
            attestation_type=type_,
            selectors=node.selectors,
            serial=intent.serial,
            not_after=intent.not_after,
            key_hash=intent.key_hash,
            attested_at=uow.now,
            last_seen=uow.now,
            address=actor.address,
            downstream=downstream,
        )
        try:
            uow.agents.upsert(record)
        except Banned:
            raise AttestationRefused("this agent is banned; an administrator can delete it to let it attest") from None
        selectors = tuple(sorted(map(str, node.selectors)))
        details: dict[str, Json] = {"type": type_, "selectors": selectors, "serial": intent.serial}
        if downstream:
            details["downstream"] = True
        target = Target("agent", str(node.agent_id))
        uow.audit.append(
            self._events.make(uow.now, "agent.attest", actor, target, request_id=request_id, details=details)
        )

    def _readmit(self, uow: UnitOfWork, intent: CertificateIntent, caller: AgentCaller, actor: Actor) -> None:
        record = uow.agents.get(caller.agent_id)
        if record.attested_at > caller.issued_at:
            raise NotFound("agent", str(caller.agent_id))
        uow.agents.upsert(
            replace(
                record,
                serial=intent.serial,
                not_after=intent.not_after,
                key_hash=intent.key_hash,
                renewed_at=uow.now,
                last_seen=uow.now,
                address=caller.address,
            )
        )
        details = {"serial": intent.serial, "by_serial": caller.serial}
        target = Target("agent", str(caller.agent_id))
        uow.audit.append(
            self._events.make(uow.now, "agent.renew", actor, target, request_id=caller.request_id, details=details)
        )


def _request(node: AttestedNode, csr: VerifiedCsr) -> IssueRequest:
    return IssueRequest(ProfileName.AGENT, node.agent_id, csr)

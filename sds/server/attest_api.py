"""The NodeAttestation service (proto/sds/node/v1): the door for nodes that have nothing but evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import grpc

from attestation.attestor import Evidence
from attestation.errors import AttestationRefused
from ca.bundle import TrustBundle
from ca.errors import CaError, CsrRefused
from sds._pb.sds.node.v1 import node_pb2
from sds.audit.event import Actor, ActorKind, Target
from sds.clock import Clock
from sds.logs import get_logger
from sds.net.limits import TokenBuckets, address_key
from sds.server import convert
from sds.server.enrolment import Enrolment, TokenClaim
from sds.server.refusals import Refusal, RefusalLog
from sds.server.rpc import Call, CallRefused, Unary
from sds.server.transactions import Transactions
from sds.store.errors import StoreError

SERVICE = "sds.node.v1.NodeAttestation"
MAX_TYPE_BYTES = 64


class AttestationObserver(Protocol):
    """Counts attestations and renewals by their outcome: success, refused or failure."""

    def attested(self, type_: str, outcome: str) -> None: ...


class AttestApi:
    """Handlers behind `rpc.Service`. `rates` counts by address."""

    def __init__(
        self,
        store: Transactions,
        enrolment: Enrolment,
        bundle: Callable[[], TrustBundle],
        refusals: RefusalLog,
        rates: TokenBuckets,
        address_of: Callable[[str], str],
        clock: Clock,
        observer: AttestationObserver,
    ) -> None:
        self._store = store
        self._enrolment = enrolment
        self._bundle = bundle
        self._refusals = refusals
        self._rates = rates
        self._address_of = address_of
        self._clock = clock
        self._observer = observer
        self._log = get_logger(__name__)

    @property
    def methods(self) -> Mapping[str, Unary[Any, Any]]:
        return {"Attest": Unary(node_pb2.AttestRequest, self.attest)}

    def use(self, rates: TokenBuckets) -> None:
        """Limit by these rates from now on."""
        self._rates = rates

    async def attest(self, request: node_pb2.AttestRequest, call: Call) -> node_pb2.AttestResponse:
        """Evidence for an SVID.

        1. The address is within its rate. 2. The CSR is sound. 3. The evidence proves an agent that is not banned.
        Every refusal is counted and audited, with the address and the reason, never with the evidence.
        """
        address = self._address_of(call.peer)
        type_ = request.type if len(request.type) <= MAX_TYPE_BYTES and request.type.isprintable() else "unprintable"
        claim = TokenClaim(self._store)
        try:
            self._check_rate(address)  # 1
            evidence = Evidence(type_, request.payload)
            issued = await self._enrolment.attest(claim, evidence, request.csr, address, call.request_id)  # 2, 3
        except (CallRefused, AttestationRefused, CsrRefused) as refusal:
            reason = f"{refusal} ({claim.refused_because})" if claim.refused_because else str(refusal)
            self._observer.attested(type_, "refused")
            await self._refusals.note(_refusal(address, type_, reason, call.request_id))
            raise
        except (CaError, StoreError):
            self._observer.attested(type_, "failure")
            raise
        self._observer.attested(type_, "success")
        self._log.info("agent attested", agent=str(issued.intent.spiffe_id), address=address, type=type_)
        return node_pb2.AttestResponse(svid=convert.svid(issued), bundle=convert.bundle(self._bundle()))

    def _check_rate(self, address: str) -> None:
        if not self._rates.take(address_key(address), self._clock.monotonic()):
            raise CallRefused(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many attestations from this address; wait")


def _refusal(address: str, type_: str, reason: str, request_id: str) -> Refusal:
    return Refusal(
        action="agent.attest",
        actor=Actor(ActorKind.AGENT, "", address),
        target=Target("agent", ""),
        reason=reason,
        request_id=request_id,
        details={"type": type_},
    )

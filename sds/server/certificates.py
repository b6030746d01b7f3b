"""SignX509Svids: what signing.py does, for certificates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from attestation.entry import EntrySpec, RegistrationEntry
from ca.errors import CaError
from ca.intent import CertificateIntent, IssuedCertificate
from ca.profile import ProfileName
from sds.server.authorized import NotSigned
from sds.server.events import Events
from sds.server.identity import AgentCaller
from sds.server.issuance import SigningAuthorities, intent_record
from sds.server.issuing.batch import Batch
from sds.server.issuing.orders import Issuing, Order
from sds.server.signing import BatchSigner, Craft, Meant, Signed
from sds.store.records import ProcessRecord
from sds.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class CertificateJob:
    """One item of a call. `process` is what the agent says of the workload: recorded, never trusted."""

    caller: AgentCaller
    entry_id: str
    unverified_csr: bytes
    process: ProcessRecord


CertificateAnswer = Signed[IssuedCertificate] | NotSigned
CertificateSigner = BatchSigner[CertificateJob, CertificateIntent, IssuedCertificate]
_Meant = Meant[CertificateJob, CertificateIntent]


class Certificates(Craft[CertificateJob, CertificateIntent, IssuedCertificate]):
    """`issuing` keeps off the event loop what would hold it up."""

    profile = str(ProfileName.WORKLOAD)
    store_down = "the certificate could not be recorded, so none was issued; try again later"
    recorded = True

    def __init__(self, issuing: Issuing, authorities: SigningAuthorities, events: Events) -> None:
        self._issuing = issuing
        self._authorities = authorities
        self._events = events

    async def prepare(
        self, orders: Sequence[tuple[CertificateJob, RegistrationEntry]], now: datetime
    ) -> Batch[CertificateIntent, IssuedCertificate]:
        """Parse the CSRs and build the leaves."""
        wanted = [_order(entry.spec, job.unverified_csr) for job, entry in orders]
        return await self._issuing.prepare(wanted, self._authorities.signing(), now)

    def key_hash(self, intent: CertificateIntent) -> str:
        return intent.key_hash

    def intend(self, uow: UnitOfWork, meant: Sequence[_Meant]) -> None:
        records, events = [], []
        for one in meant:
            intent, caller, process = one.intent, one.job.caller, one.job.process
            entry = one.entry.id, one.entry.revision
            records.append(intent_record(intent, uow.now, entry=entry, agent_id=caller.agent_id, process=process))
            events.append(
                self._events.certificate(uow.now, intent, one.actor, caller.request_id, entry=entry, process=process)
            )
        uow.certificates.add_intents(records)
        uow.audit.append_all(events)

    def record(
        self, uow: UnitOfWork, signed: Sequence[IssuedCertificate], failed: Sequence[tuple[_Meant, CaError]]
    ) -> None:
        uow.certificates.mark_issued([(issued.intent.serial, issued.der) for issued in signed])
        for one, error in failed:
            request_id = one.job.caller.request_id
            uow.audit.append(self._events.unsigned(uow.now, one.intent, one.actor, request_id, reason=str(error)))


def _order(spec: EntrySpec, unverified_csr: bytes) -> Order:
    return Order(
        unverified_csr,
        spec.profile or ProfileName.WORKLOAD,
        spec.spiffe_id,
        spec.dns_names,
        spec.x509_svid_ttl,
        spec.extra_sans,
        spec.subject,
    )

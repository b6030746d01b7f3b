"""What is ordered, and what an order becomes: the same in this process and in a worker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from attestation.spiffe_id import SpiffeId
from ca.authority import SigningAuthority
from ca.csr import parse_csr
from ca.errors import CaError, CsrRefused, IssuanceRefused
from ca.intent import CertificateIntent, IssuedCertificate, IssueRequest
from ca.issuer import Issuer, Prepared
from ca.profile import ProfileName
from sds.server.issuing.batch import Batch

_NOT_FOR_WORKLOADS = frozenset({ProfileName.AGENT, ProfileName.SERVER})


class Order(NamedTuple):
    """One leaf of a workload, as ca.intent.IssueRequest has it, with a CSR that nobody has looked at yet."""

    unverified_csr: bytes
    profile: str
    spiffe_id: SpiffeId
    dns_names: tuple[str, ...] = ()
    ttl: timedelta | None = None
    extra_sans: tuple[str, ...] = ()
    subject: str = ""


class Issuing(Protocol):
    """Prepares batches; safe for any number of tasks at once."""

    async def prepare(
        self, orders: Sequence[Order], signing: SigningAuthority, now: datetime
    ) -> Batch[CertificateIntent, IssuedCertificate]: ...


def prepare_orders(
    issuer: Issuer, orders: Sequence[Order], signing: SigningAuthority, now: datetime, max_csr_bytes: int
) -> list[Prepared | CaError]:
    """Parse the CSRs and build the leaves; one answer for each order, in order. Uses no key."""
    answers: list[Prepared | CaError | None] = []
    requests: list[IssueRequest] = []
    for unverified_csr, profile, spiffe_id, dns_names, ttl, extra_sans, subject in orders:
        if profile in _NOT_FOR_WORKLOADS:  # no entry passes the rules with it; nor would it here
            answers.append(IssuanceRefused(f"the certificate profile {profile} is not for workloads"))
            continue
        if len(unverified_csr) > max_csr_bytes:
            answers.append(CsrRefused(f"CSR has {len(unverified_csr)} bytes; at most {max_csr_bytes} are allowed"))
            continue
        try:
            csr = parse_csr(unverified_csr)
        except CsrRefused as refusal:
            answers.append(refusal)
            continue
        answers.append(None)
        requests.append(IssueRequest(profile, spiffe_id, csr, dns_names, ttl, extra_sans, subject))
    prepared = iter(issuer.prepare(requests, signing, now))
    return [next(prepared) if answer is None else answer for answer in answers]

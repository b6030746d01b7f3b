"""How much of the crypto floor is left when the CA issues in one process: no network, no database, one core.

The floor is only the cryptography that nobody can leave out, over bytes and keys that lie ready: verify the CSR's
signature and sign once, or generate a key pair and sign once. Ours is all that ca does for a certificate: for CSRs from
the request's bytes to the judged chain, for pairs from nothing to key and judged chain. Floor and ours take turns, one
batch each, in processor time, and the ratio is the median over all turns: the machine's speed changes meanwhile.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from attestation.spiffe_id import SpiffeId, TrustDomain
from benchmarks.crypto_floor import make_csrs
from benchmarks.machine import percentile
from ca.authority import SigningAuthority
from ca.csr import VerifiedCsr, parse_csr
from ca.intent import IssuedCertificate, IssueRequest
from ca.issuer import Issuer, Prepared
from ca.keys import KeyType, generate
from ca.profile import IssuancePolicy, ProfileName
from ca.self_signed import self_signed_authority
from ca.serial import RandomSerials
from ca.signer import LocalSigner

_TRUST_DOMAIN = TrustDomain("example.org")
_TBS_BYTES = 500  # about what is signed for a workload
_ECDSA = ec.ECDSA(hashes.SHA256())
_P256 = ec.SECP256R1()


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and of what: `batch` certificates in one turn, for `identities` workloads that come again and again."""

    seconds: float
    batch: int
    identities: int

    def __post_init__(self) -> None:
        if self.identities % self.batch:
            raise ValueError("batches fill the identities")


class Ours:
    """The CA's own way, as sds.server.signing walks it."""

    def __init__(self, plan: Plan) -> None:
        self.now = datetime.now(UTC)
        self.authority = make_authority(self.now)
        self._issuer = Issuer(IssuancePolicy(), RandomSerials(os.urandom))
        self._ids = [SpiffeId(_TRUST_DOMAIN, f"/bench/workload-{n}") for n in range(plan.identities)]
        self._at = 0

    def issue(self, csrs: Sequence[VerifiedCsr]) -> list[IssuedCertificate]:
        """Both acts for one batch. Raises what stands in the way."""
        ids = self._ids[self._at : self._at + len(csrs)]
        self._at = (self._at + len(csrs)) % len(self._ids)
        requests = [IssueRequest(ProfileName.WORKLOAD, one, csr) for one, csr in zip(ids, csrs, strict=True)]
        prepared = [_sound(item) for item in self._issuer.prepare(requests, self.authority, self.now)]
        answers = self._issuer.issue(prepared)
        issued = [answer for answer in answers if isinstance(answer, IssuedCertificate)]
        if len(issued) != len(csrs):
            raise RuntimeError(f"{len(csrs) - len(issued)} of {len(csrs)} were not issued")
        return issued


def make_authority(now: datetime) -> SigningAuthority:
    signer = LocalSigner.of(generate(KeyType.ECDSA_P256))
    authority = self_signed_authority(
        _TRUST_DOMAIN,
        signer,
        key_ref="bench:1",
        key_type=KeyType.ECDSA_P256,
        serial=RandomSerials(os.urandom)(),
        now=now,
        lifetime=timedelta(days=1),
    )
    return SigningAuthority.open(authority.activated(now), signer)


def compare(plan: Plan) -> dict[str, object]:
    """Rates a second and ratios, for CSRs and for pairs."""
    ours = Ours(plan)
    csrs = make_csrs(plan.batch)
    issuer_key = ec.generate_private_key(_P256)
    messages = [os.urandom(_TBS_BYTES) for _ in csrs]
    signed = [_signed_part(csr) for csr in csrs]

    def csr_floor() -> None:
        for public_key, signature, info in signed:
            public_key.verify(signature, info, _ECDSA)
        for message in messages:
            issuer_key.sign(message, _ECDSA)

    def csr_ours() -> None:
        ours.issue([parse_csr(csr) for csr in csrs])

    def pair_floor() -> None:
        for _ in range(plan.batch):
            ec.generate_private_key(_P256)
        for message in messages:
            issuer_key.sign(message, _ECDSA)

    def pair_ours() -> None:
        keys = [generate(KeyType.ECDSA_P256) for _ in range(plan.batch)]
        ours.issue([VerifiedCsr.of_own_key(key) for key in keys])

    _prove(ours, csrs)
    work = {"csr_floor": csr_floor, "csr": csr_ours, "pair_floor": pair_floor, "pair": pair_ours}
    turns: dict[str, list[float]] = {name: [] for name in work}
    end = time.monotonic() + plan.seconds
    while time.monotonic() < end:
        for name, one_batch in work.items():
            start = time.thread_time()
            one_batch()
            turns[name].append(time.thread_time() - start)
    return {
        "turns": len(turns["csr"]),
        "certificates_a_second": {name: _rates(seconds, plan.batch) for name, seconds in turns.items()},
        "ratio": {kind: _ratio(turns[f"{kind}_floor"], turns[kind]) for kind in ("csr", "pair")},
    }


def _rates(seconds: Sequence[float], batch: int) -> dict[str, int]:
    """In the median turn, and in the best tenth: what the machine does when nothing else runs."""
    return {"median": round(batch / median(seconds)), "best_tenth": round(batch / _tenth(seconds))}


def _ratio(floor: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """The floor's time by ours: turn by turn, the median of them; and the best tenth of each."""
    return {
        "median": round(median(best / mine for best, mine in zip(floor, ours, strict=True)), 3),
        "best_tenth": round(_tenth(floor) / _tenth(ours), 3),
    }


def _tenth(seconds: Sequence[float]) -> float:
    return percentile(sorted(seconds), 0.1)


def _signed_part(csr_der: bytes) -> tuple[ec.EllipticCurvePublicKey, bytes, bytes]:
    csr = x509.load_der_x509_csr(csr_der)
    public_key = csr.public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise TypeError("the benchmark's CSRs are for P-256 keys")
    return public_key, csr.signature, csr.tbs_certrequest_bytes


def _prove(ours: Ours, csrs: Sequence[bytes]) -> None:
    """What is measured below is real: every certificate of a batch verifies and is for its CSR's key."""
    for csr, issued in zip(csrs, ours.issue([parse_csr(csr) for csr in csrs]), strict=True):
        leaf = x509.load_der_x509_certificate(issued.der)
        leaf.verify_directly_issued_by(ours.authority.certificate)
        if leaf.public_key() != x509.load_der_x509_csr(csr).public_key():
            raise RuntimeError("a certificate has another key than its CSR")


def _sound(item: Prepared | Exception) -> Prepared:
    if isinstance(item, Exception):
        raise item
    return item

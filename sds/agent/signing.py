"""The CPU work around signing: keys and CSRs before, judging every certificate after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from attestation.entry import RegistrationEntry
from ca.csr import build_csr
from ca.errors import CaError
from ca.keys import KeyType, generate, key_hash, to_pkcs8_pem
from ca.masked import Masked
from ca.verify import verify_svid
from sds._pb.sds.node.v1 import node_pb2
from sds.agent import convert
from sds.agent.cache.group import Member
from sds.agent.cache.views import HeldSvid
from sds.agent.distrust import Doubts, Verdict
from sds.agent.errors import AgentError, InvalidAnswer
from sds.agent.renewal import Held, renew_at
from sds.delivery.resource import TlsCertificate
from sds.delivery.view import Identity


@dataclass(frozen=True, slots=True)
class Request:
    """One certificate asked for: the entry as it is now, and the key that was made for it."""

    entry: RegistrationEntry
    process: node_pb2.ProcessInfo
    private_key_pem: Masked[bytes]
    key_hash: str
    csr: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no certificate. `final`: asking again is no use before the entry changes."""

    reason: str
    final: bool = False


def prepare(wanted: Sequence[tuple[RegistrationEntry, node_pb2.ProcessInfo]], key_type: KeyType) -> list[Request]:
    """Make a key for each entry. CPU work: call it in a thread."""
    requests = []
    for entry, process in wanted:
        key = generate(key_type)
        requests.append(Request(entry, process, to_pkcs8_pem(key), key_hash(key.public_key()), build_csr(key)))
    return requests


def judge(
    requests: Sequence[Request],
    answer: node_pb2.SignX509SvidsResponse,
    doubts: Doubts,
    now: datetime,
    jitters: Sequence[float],
    jitter_share: float,
) -> dict[str, HeldSvid | Refusal]:
    """Match the results with the requests and check every certificate. CPU work: call it in a thread."""
    found: dict[str, HeldSvid | Refusal] = {}
    for number, (request, jitter) in enumerate(zip(requests, jitters, strict=True)):
        entry_id = request.entry.id
        if number >= len(answer.results) or answer.results[number].entry_id != entry_id:
            found[entry_id] = Refusal("the server's answer does not fit the question")
            continue
        result = answer.results[number]
        if result.WhichOneof("result") == "svid":
            try:
                found[entry_id] = _held(request, result, doubts, now, jitter, jitter_share)
            except (AgentError, CaError) as error:
                found[entry_id] = Refusal(str(error))
        else:
            found[entry_id] = _refusal(result.error)
    return found


def _held(
    request: Request,
    result: node_pb2.SignResult,
    doubts: Doubts,
    now: datetime,
    jitter: float,
    jitter_share: float,
) -> HeldSvid:
    """A certificate that may be served: for this ID and this key, valid now, and verified. Raises CaError, AgentError.

    One that a sidecar would reject must not replace one that works. One of a tainted authority works.
    """
    entry = request.entry
    svid = convert.svid(result.svid.certificate_chain, entry.spiffe_id)
    if svid.key_hash != request.key_hash:
        raise InvalidAnswer("the server sent a certificate for another key")
    verify_svid(svid, doubts.bundle, now)
    if doubts.of(svid.authority_id, svid.serial) is Verdict.REVOKED:
        raise InvalidAnswer("the server sent a certificate that is on its CRL")
    certificate = TlsCertificate(svid.pem(), request.private_key_pem, svid.serial, svid.not_after)
    due = renew_at(svid.not_before, svid.not_after, jitter_share, jitter)
    held = Held(entry, svid.not_before, svid.not_after, due, now)
    return HeldSvid(held, Identity(entry.spiffe_id, certificate), svid.authority_id)


def _refusal(error: node_pb2.SignError) -> Refusal:
    """REFUSED needs a change of the entry. The rest may pass: a replica may not have heard of the entry yet."""
    return Refusal(error.message or "the server gave no reason", final=error.code == node_pb2.SignError.CODE_REFUSED)


def sign_item(request: Request) -> node_pb2.SignItem:
    return node_pb2.SignItem(entry_id=request.entry.id, csr=request.csr, process=request.process)


def process_info(member: Member | None) -> node_pb2.ProcessInfo:
    if member is None:
        return node_pb2.ProcessInfo()
    process = member.process
    return node_pb2.ProcessInfo(pid=process.pid, uid=process.uid, path=member.path, container=member.container)

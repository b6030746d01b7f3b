"""Between domain values and the node protocol's messages. Protobuf travels no further in than this."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from attestation.entry import RegistrationEntry
from ca.bundle import TrustBundle
from ca.intent import IssuedCertificate
from sds._pb.sds.node.v1 import node_pb2
from sds.server.authorized import NotSigned, SignCode
from sds.server.certificates import CertificateAnswer
from sds.server.watch import Update
from sds.store.records import ProcessRecord

MAX_PATH = 4096  # PATH_MAX
MAX_CONTAINER = 128

_CODES = {
    SignCode.NOT_AUTHORIZED: node_pb2.SignError.CODE_NOT_AUTHORIZED,
    SignCode.CSR_REFUSED: node_pb2.SignError.CODE_CSR_REFUSED,
    SignCode.UNAVAILABLE: node_pb2.SignError.CODE_UNAVAILABLE,
    SignCode.REFUSED: node_pb2.SignError.CODE_REFUSED,
}


def timestamp(when: datetime | None) -> Timestamp | None:
    """None stays absent."""
    if when is None:
        return None
    message = Timestamp()
    message.FromDatetime(when)
    return message


def moment(message: Timestamp) -> datetime:
    """Aware UTC. Raises ValueError for a time beyond what a datetime holds."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError("a time is out of range") from error


def duration(span: timedelta | None) -> Duration | None:
    if span is None:
        return None
    message = Duration()
    message.FromTimedelta(span)
    return message


def bundle(value: TrustBundle) -> node_pb2.Bundle:
    return node_pb2.Bundle(
        trust_domain=value.trust_domain.name,
        x509_authorities=value.x509_authorities,
        sequence=value.sequence,
        refresh_hint=duration(value.refresh_hint),
        jwt_authorities=[
            node_pb2.JwtAuthority(key_id=key.id, public_key=key.public_key, not_after=timestamp(key.not_after))
            for key in value.jwt_keys
        ],
        crls=value.crls,
        tainted_authorities=sorted(value.tainted),
    )


def federated(bundles: Iterable[TrustBundle]) -> node_pb2.FederatedBundles:
    return node_pb2.FederatedBundles(bundles=map(bundle, bundles))


def entry(value: RegistrationEntry) -> node_pb2.Entry:
    """What an agent needs to know of an entry; owner and labels stay here."""
    spec = value.spec
    return node_pb2.Entry(
        id=value.id,
        revision=value.revision,
        spiffe_id=str(spec.spiffe_id),
        selectors=sorted(str(selector) for selector in spec.selectors),
        x509_svid_ttl=duration(spec.x509_svid_ttl),
        dns_names=spec.dns_names,
        hint=spec.hint,
        expires_at=timestamp(spec.expires_at),
        created_at=timestamp(value.created_at),
        updated_at=timestamp(value.updated_at),
        jwt_svid_ttl=duration(spec.jwt_svid_ttl),
        federates_with=[domain.name for domain in spec.federates_with],
        profile=spec.profile,
        extra_sans=spec.extra_sans,
        subject=spec.subject,
    )


def update(value: Update, now: datetime, audit_checkpoint: str = "") -> node_pb2.WatchAuthorizedResponse:
    return node_pb2.WatchAuthorizedResponse(
        revision=value.revision,
        epoch=value.epoch,
        snapshot=value.snapshot,
        upserted=[entry(one) for one in value.upserted],
        removed_entry_ids=value.removed,
        bundle=None if value.bundle is None else bundle(value.bundle),
        federated=None if value.federated is None else federated(value.federated),
        server_time=timestamp(now),
        audit_checkpoint=audit_checkpoint,
    )


def svid(issued: IssuedCertificate) -> node_pb2.X509Svid:
    intent = issued.intent
    return node_pb2.X509Svid(
        spiffe_id=str(intent.spiffe_id), certificate_chain=issued.chain, not_after=timestamp(intent.not_after)
    )


def sign_error(answer: NotSigned) -> node_pb2.SignError:
    return node_pb2.SignError(code=_CODES[answer.code], message=answer.message)


def sign_result(entry_id: str, answer: CertificateAnswer) -> node_pb2.SignResult:
    if isinstance(answer, NotSigned):
        return node_pb2.SignResult(entry_id=entry_id, error=sign_error(answer))
    return node_pb2.SignResult(entry_id=answer.entry.id, entry_revision=answer.entry.revision, svid=svid(answer.issued))


def process(message: node_pb2.ProcessInfo) -> ProcessRecord:
    path, container = text(message.path, MAX_PATH), text(message.container, MAX_CONTAINER)
    return ProcessRecord(message.pid, message.uid, path, container)


def text(unverified: str, limit: int) -> str:
    """At most `limit` characters, what cannot be printed replaced: it goes into logs, tables and terminals."""
    cut = unverified[:limit]
    return cut if cut.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in cut)

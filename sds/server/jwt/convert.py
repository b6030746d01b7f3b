"""Between tokens and the node protocol's messages."""

from __future__ import annotations

from sds._pb.sds.node.v1 import node_pb2
from sds.server.authorized import NotSigned
from sds.server.convert import sign_error, timestamp
from sds.server.jwt.signing import JwtAnswer


def jwt_result(entry_id: str, answer: JwtAnswer) -> node_pb2.JwtResult:
    if isinstance(answer, NotSigned):
        return node_pb2.JwtResult(entry_id=entry_id, error=sign_error(answer))
    intent = answer.issued.intent
    svid = node_pb2.JwtSvid(
        token=answer.issued.token.reveal(),
        spiffe_id=str(intent.spiffe_id),
        issued_at=timestamp(intent.issued_at),
        expires_at=timestamp(intent.expires_at),
    )
    return node_pb2.JwtResult(entry_id=answer.entry.id, entry_revision=answer.entry.revision, svid=svid)

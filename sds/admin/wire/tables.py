"""What nouns look like as rows of an export. Names of columns are those of the JSON fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attestation.entry import RegistrationEntry
from sds.admin.services import AgentInfo, StreamInfo
from sds.admin.services.grants import GrantInfo
from sds.admin.wire.entries import entry_out
from sds.admin.wire.grants import grant_out
from sds.store.revocation.records import RevocationRecord

ENTRY = (
    "id", "revision", "spiffe_id", "parent_id", "selectors", "x509_ttl", "dns_names", "hint", "owner", "labels",
    "expires_at", "jwt_ttl", "federates_with", "profile", "extra_sans", "subject", "created_at", "updated_at",
)  # fmt: skip
ENTRY_LISTS = frozenset({"selectors", "dns_names", "federates_with", "extra_sans"})
AGENT = (
    "spiffe_id", "attestation_type", "selectors", "serial", "not_after", "attested_at", "renewed_at", "last_seen",
    "banned", "banned_at", "banned_reason", "address", "version", "downstream", "bundle_sequence", "connected",
    "entries", "streams",
)  # fmt: skip
GRANT = ("id", "secret", "spiffe_id", "spiffe_id_prefix", "labels", "created_at", "created_by")
STREAM = (
    "id", "agent_id", "protocol", "pid", "uid", "path", "spiffe_ids", "node_id", "opened_at", "nacked", "behind",
    "lag_seconds", "resource", "sent_version", "acked_version", "nacked_version", "nack_detail", "sent_at", "acked_at",
    "sent_serial", "acked_serial",
)  # fmt: skip
REVOCATION = ("serial", "authority_id", "not_after", "reason", "revoked_at", "block_id")


def entry_row(entry: RegistrationEntry) -> Sequence[object]:
    out = entry_out(entry)
    return [getattr(out, name) for name in ENTRY]


def entry_cells(entry: RegistrationEntry) -> Sequence[object]:
    """For CSV: lists and labels a line each, because a selector may have blanks in it. An import reads them so."""
    return [_lines(value) for value in entry_row(entry)]


def agent_row(agent: AgentInfo) -> Sequence[object]:
    return (
        str(agent.spiffe_id), agent.attestation_type, sorted(map(str, agent.selectors)), agent.serial, agent.not_after,
        agent.attested_at, agent.renewed_at, agent.last_seen, agent.banned_at is not None, agent.banned_at,
        agent.banned_reason, agent.address, agent.version, agent.downstream, agent.bundle_sequence, agent.connected,
        agent.entries, agent.streams,
    )  # fmt: skip


def grant_row(info: GrantInfo) -> Sequence[object]:
    out = grant_out(info.grant, info.secret)
    return [getattr(out, name) for name in GRANT]


def revocation_row(record: RevocationRecord) -> Sequence[object]:
    return (
        record.serial, record.authority_id, record.not_after, record.reason.value, record.revoked_at, record.block_id,
    )  # fmt: skip


def stream_rows(stream: StreamInfo) -> Sequence[Sequence[object]]:
    """A row for each resource; one for a stream that holds nothing yet."""
    process = stream.process
    head = (
        stream.id, str(stream.agent_id), stream.protocol, process.pid, process.uid, process.path, stream.spiffe_ids,
        stream.node_id, stream.opened_at, stream.nacked, stream.behind,
    )  # fmt: skip
    if not stream.resources:
        return [(*head, 0.0, "", "", "", "", "", None, None, "", "")]
    return [
        (
            *head, 0.0 if (lag := stream.lag_of(one)) is None else lag.total_seconds(), one.name, one.sent_version,
            one.acked_version, one.nacked_version, one.nack_detail, one.sent_at, one.acked_at, one.sent_serial,
            one.acked_serial,
        )
        for one in stream.resources
    ]  # fmt: skip


def _lines(value: object) -> object:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if isinstance(value, Mapping):
        return "\n".join(f"{name}={text}" for name, text in value.items())
    return value

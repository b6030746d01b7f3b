"""Taking back what was issued, and the blocks that this leaves."""

from __future__ import annotations

from collections.abc import Iterator

from sds.client.nouns import ExportFormat, Noun, operation
from sds.client.results import Many, Result, Time
from sds.client.transport.connection import part

_PATH = "/v1/revocations"
_BLOCKS = "/v1/blocks"


class LostCertificate(Result):
    serial: str
    spiffe_id: str
    profile: str
    authority_id: str
    not_after: Time
    agent_id: str | None
    revoked: bool


class LiveStream(Result):
    agent_id: str
    id: str
    protocol: str
    pid: int
    path: str
    node_id: str
    spiffe_ids: Many[str]


class Unreached(Result):
    """A stream whose sidecar goes on accepting what is revoked."""

    stream: LiveStream
    why: str


class BlastRadius(Result):
    """Lists are cut; the totals are not."""

    certificates_total: int
    fresh: int
    certificates: Many[LostCertificate]
    identities_total: int
    identities: Many[str]
    entries_total: int
    entries: Many[str]
    agents_total: int
    agents: Many[str]
    owners: Many[str]
    streams_total: int
    streams: Many[LiveStream]
    unreached_total: int
    unreached: Many[Unreached]
    last_expiry: Time | None
    notes: Many[str]


class Block(Result):
    """Nothing is issued to what it names until it is lifted."""

    id: str
    kind: str
    value: str
    reason: str
    incident: str
    created_at: Time
    created_by: str
    lifted_at: Time | None
    lifted_by: str


class Revocation(Result):
    """`block` is None after a dry run. `problem`: why the CRLs do not say it yet."""

    dry_run: bool
    kind: str
    value: str
    reason: str
    incident: str
    blast_radius: BlastRadius
    block: Block | None
    problem: str


class Lifted(Result):
    block: Block
    released: bool
    problem: str


class Revoked(Result):
    serial: str
    authority_id: str
    not_after: Time
    reason: str
    revoked_at: Time
    block_id: str


class Revocations(Noun):
    @operation("revocation.create")
    def revoke(
        self,
        kind: str,
        value: str,
        *,
        reason: str = "unspecified",
        incident: str = "",
        issuer: str = "",
        dry_run: bool = True,
    ) -> Revocation:
        """Says what it would hit; does it if `dry_run` is False.

        `kind`: serial, spiffe_id, key, entry, agent or authority. `issuer`: of a serial that no record is left of.
        """
        body = {
            "kind": kind,
            "value": value,
            "reason": reason,
            "incident": incident,
            "issuer": issuer,
            "dry_run": dry_run,
        }
        return self._post(Revocation, _PATH, body, keyed=not dry_run)

    @operation("revocation.list")
    def list(
        self, *, block_id: str | None = None, authority_id: str | None = None, limit: int | None = None
    ) -> Iterator[Revoked]:
        """Certificates that are revoked, newest first."""
        query = {"block_id": block_id, "authority_id": authority_id}
        return self._pages(Revoked, _PATH, "revocations", query, limit=limit)

    @operation("revocation.export")
    def export(
        self,
        export_format: ExportFormat = "jsonl",
        *,
        block_id: str | None = None,
        authority_id: str | None = None,
    ) -> Iterator[bytes]:
        """The whole listing, line by line as it comes."""
        query = {"block_id": block_id, "authority_id": authority_id, "format": export_format}
        return self._calls.lines(f"{_PATH}:export", query)

    @operation("block.list")
    def blocks(
        self, *, kind: str | None = None, standing: bool | None = None, limit: int | None = None
    ) -> Iterator[Block]:
        """Newest first."""
        return self._pages(Block, _BLOCKS, "blocks", {"kind": kind, "standing": standing}, limit=limit)

    @operation("block.show")
    def block(self, block_id: str) -> Block:
        return self._get(Block, f"{_BLOCKS}/{part(block_id)}")

    @operation("block.lift")
    def lift(self, block_id: str, *, if_match: str | None = None) -> Lifted:
        """Issue to it again; what was revoked for good stays so."""
        return self._post(Lifted, f"{_BLOCKS}/{part(block_id)}:lift", if_match=if_match)

"""The audit log's tree in memory: the real tree and checks over the fake log's events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services import AdminCall, AuditRow, UnreadableRow
from sds.admin.services.ledger import (
    CheckpointInfo,
    ConsistencyProof,
    EventDetail,
    ExportQuery,
    InclusionProof,
    KeyInfo,
    PruneReport,
)
from sds.audit.canonical import canonical_bytes
from sds.audit.checkpoint import Checkpoint, signed
from sds.audit.event import Outcome
from sds.audit.export import ExportHeader, leaf_line
from sds.audit.judge import Claim, Findings, Judge, Leaf
from sds.audit.merkle import Frontier, consistency_ranges, inclusion_ranges, leaf_hash, range_hashes, root_of
from sds.audit.note import VerifierKey
from sds.audit.tiles import GrowingTree
from sds.audit.verify import Verdict, remembered_claims
from sds.store.errors import NotFound

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"f" * 32)
KEY = VerifierKey("example.org/audit/fake", PRIVATE.public_key().public_bytes_raw())


class FakeLedger:
    """Every event is under a checkpoint at once. `append` writes into the log."""

    def __init__(
        self,
        now: Callable[[], datetime],
        rows: Callable[[], Sequence[AuditRow]],
        append: Callable[..., object],
        read: Callable[[AuditRow], AuditRow | UnreadableRow],
    ) -> None:
        self._now = now
        self._rows = rows
        self._append = append
        self._read_row = read
        self.rotations = 0

    def _hashes(self) -> list[bytes]:
        return [leaf_hash(canonical_bytes(row.event)) for row in self._rows()]

    def _row(self, sequence: int) -> AuditRow:
        rows = self._rows()
        if not 0 < sequence <= len(rows):
            raise NotFound("audit event", str(sequence))
        return rows[sequence - 1]

    def _note(self, size: int) -> str:
        return signed(Checkpoint(KEY.name, size, root_of(self._hashes()[:size])).text, KEY, PRIVATE.sign)

    def _read(self, level: int, tile: int) -> bytes:
        tree = GrowingTree()
        tree.extend(self._hashes())
        return tree.changed().get((level, tile), b"")

    async def event(self, sequence: int) -> EventDetail:
        row = self._row(sequence)
        canonical = canonical_bytes(row.event)
        return EventDetail(self._read_row(row), canonical.decode(), sequence - 1, leaf_hash(canonical))

    async def inclusion(self, sequence: int) -> InclusionProof:
        self._row(sequence)
        size = len(self._rows())
        path = range_hashes(inclusion_ranges(sequence - 1, size), self._read)
        return InclusionProof(sequence - 1, size, path, self._note(size))

    async def consistency(self, first: int, second: int) -> ConsistencyProof:
        if not 0 < first <= second <= len(self._rows()):
            raise NotFound("trees", f"sizes are above 0 and rise up to {len(self._rows())}")
        return ConsistencyProof(first, second, range_hashes(consistency_ranges(first, second), self._read))

    async def checkpoint(self, size: int | None) -> CheckpointInfo:
        size = len(self._rows()) if size is None else size
        if not 0 < size <= len(self._rows()):
            raise NotFound("checkpoint", str(size))
        return CheckpointInfo(size, root_of(self._hashes()[:size]), self._note(size), self._now())

    async def checkpoints(self, before: int | None, limit: int) -> tuple[CheckpointInfo, ...]:
        top = len(self._rows()) if before is None else min(before - 1, len(self._rows()))
        return tuple([await self.checkpoint(size) for size in range(top, max(0, top - limit), -1)])

    async def keys(self) -> tuple[KeyInfo, ...]:
        return (KeyInfo(1, KEY.text, "", self._now()),)

    async def export(self, query: ExportQuery) -> AsyncIterator[bytes]:
        rows = list(self._rows())
        header = ExportHeader(
            0, Frontier(), self._note(len(rows)), (KEY.text,), (), (), query != ExportQuery(query.format)
        )

        async def pieces() -> AsyncIterator[bytes]:
            yield header.line() + b"\n"
            for row in rows:
                if query.action is None or query.action == row.event.action:
                    raw = canonical_bytes(row.event)
                    yield leaf_line(row.sequence - 1, row.sequence, raw, leaf_hash(raw))

        return pieces()

    async def verify(self, call: AdminCall, remembered: Sequence[str]) -> Verdict:
        rows, findings = list(self._rows()), Findings()
        checkpoint = Checkpoint(KEY.name, len(rows), root_of(self._hashes()))
        claims = [Claim("the checkpoint", checkpoint.size, checkpoint.root)]
        judge = Judge(findings, [*claims, *remembered_claims(remembered, [KEY], checkpoint, findings)])
        for row in rows:
            raw = canonical_bytes(row.event)
            judge.leaf(Leaf(row.sequence - 1, row.sequence, raw, leaf_hash(raw)))
        judge.finish()
        await self._append(call, "audit.verify", KEY.name, Outcome.SUCCESS)  # type: ignore[misc]
        return Verdict(findings, len(rows), judge.events, checkpoint, (KEY,))

    async def prune(self, call: AdminCall, before: datetime, *, dry_run: bool) -> PruneReport:
        if before > self._now():
            raise InvalidInput([FieldProblem("before", "lies in the future")])
        old = sum(row.event.time < before for row in self._rows())
        if not dry_run:
            await self._append(call, "audit.prune", KEY.name, Outcome.SUCCESS)  # type: ignore[misc]
        return PruneReport(before, old, old, "", "", dry_run=dry_run)

    async def rotate_key(self, call: AdminCall) -> KeyInfo:
        self.rotations += 1
        await self._append(call, "audit.key.create", "1", Outcome.SUCCESS)  # type: ignore[misc]
        return (await self.keys())[0]

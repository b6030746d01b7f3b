"""Events with their leaves, proofs, and the log as a file: what the admin API shows of the tree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cache
from typing import TypeVar

from sds.admin.errors import ProofUnavailable
from sds.admin.services.ledger import (
    CheckpointInfo,
    ConsistencyProof,
    EventDetail,
    ExportFormat,
    InclusionProof,
    KeyInfo,
)
from sds.audit.export import ExportHeader
from sds.audit.merkle import (
    HASH_BYTES,
    TILE_WIDTH,
    DamagedTree,
    Frontier,
    consistency_ranges,
    frontier_at,
    inclusion_ranges,
    leaf_hash,
    range_hashes,
)
from sds.server.audit.encode import Hashed, audit_row, csv_header, csv_rows, jsonl
from sds.server.transactions import Transactions
from sds.store.errors import NotFound
from sds.store.ledger.lines import LogLine
from sds.store.ledger.tree import SignedHead
from sds.store.records import AuditFilter
from sds.store.unit_of_work import UnitOfWork

T = TypeVar("T")

NO_FILTER = AuditFilter()
CHUNK = 2048
"""Leaves that one transaction of an export reads; a multiple of a tile's width."""


class LedgerReader:
    """Every method raises StoreError."""

    def __init__(self, store: Transactions) -> None:
        self._store = store

    async def event(self, sequence: int) -> EventDetail:
        """Raises NotFound, also for one that retention has taken."""

        def work(uow: UnitOfWork) -> EventDetail:
            found = uow.audit.get(sequence)
            if found is None:
                raise NotFound("audit event", str(sequence))
            leaf = uow.audit_tree.leaf_of(sequence)
            return EventDetail(audit_row(found), _text(found.canonical), leaf, leaf_hash(found.canonical))

        return await self._store.read(work)

    async def inclusion(self, sequence: int) -> InclusionProof:
        """In the newest checkpoint. Raises NotFound, ProofUnavailable."""

        def work(uow: UnitOfWork) -> InclusionProof:
            newest, leaf = uow.audit_tree.checkpoint(), uow.audit_tree.leaf_of(sequence)
            if leaf is None:
                if uow.audit.get(sequence) is None:
                    raise NotFound("audit event", str(sequence))
                raise ProofUnavailable("the event is under no checkpoint yet; ask again in a second")
            if newest is None or leaf >= newest.size:
                raise ProofUnavailable("the event is under no checkpoint; verify the log (sds audit verify)")
            path = range_hashes(inclusion_ranges(leaf, newest.size), cache(uow.audit_tree.tile))
            return InclusionProof(leaf, newest.size, path, newest.note)

        return await self._proved(work)

    async def consistency(self, first: int, second: int) -> ConsistencyProof:
        """That the tree of `second` leaves begins with that of `first`. Raises NotFound, ProofUnavailable."""

        def work(uow: UnitOfWork) -> ConsistencyProof:
            size = uow.audit_tree.head().size
            if not 0 < first <= second <= size:
                raise NotFound("trees", f"sizes are above 0 and rise up to {size}")
            return ConsistencyProof(
                first, second, range_hashes(consistency_ranges(first, second), cache(uow.audit_tree.tile))
            )

        return await self._proved(work)

    async def checkpoint(self, size: int | None) -> CheckpointInfo:
        """The newest, or the one that was signed at this size. Raises NotFound."""
        found = await self._store.read(lambda uow: uow.audit_tree.checkpoint(size))
        if found is None:
            raise NotFound("checkpoint", "newest" if size is None else str(size))
        return _info(found)

    async def checkpoints(self, before: int | None, limit: int) -> tuple[CheckpointInfo, ...]:
        """Newest first."""
        below = 2**62 if before is None else before
        return tuple(
            map(_info, await self._store.read(lambda uow: uow.audit_tree.checkpoints(before=below, limit=limit)))
        )

    async def keys(self) -> tuple[KeyInfo, ...]:
        """Oldest first; the last one signs."""
        known = await self._store.read(lambda uow: uow.audit_keys.all())
        return tuple(KeyInfo(key.number, key.verifier, key.endorsement, key.created_at) for key in known)

    async def export(self, form: ExportFormat, filters: AuditFilter) -> AsyncIterator[bytes]:
        """Pieces of the log as a file, up to the newest checkpoint. Raises ProofUnavailable before the first."""
        whole = filters == NO_FILTER
        header, end = await self._proved(lambda uow: _header(uow, whole=whole))
        first = header.line() + b"\n" if form == "jsonl" else csv_header()
        return self._pieces(first, jsonl if form == "jsonl" else csv_rows, header.first, end, filters)

    async def _pieces(
        self,
        header: bytes,
        encode: Callable[[list[Hashed]], bytes],
        start: int,
        end: int,
        filters: AuditFilter,
    ) -> AsyncIterator[bytes]:
        yield header
        whole = filters == NO_FILTER
        while start < end:
            # To the next multiple of the chunk, so that each tile is read once.
            until = min(end, start - start % CHUNK + CHUNK) if whole else end
            lines = await self._store.read(
                lambda uow, at=start, to=until: _whole(uow, at, to) if whole else _matching(uow, at, to, filters)  # type: ignore[misc]
            )
            if lines:
                yield await asyncio.to_thread(encode, lines)
            start = until if whole or len(lines) < CHUNK else lines[-1][0].leaf + 1

    async def _proved(self, work: Callable[[UnitOfWork], T]) -> T:
        try:
            return await self._store.read(work)
        except DamagedTree:
            raise ProofUnavailable("the stored tree lacks hashes; verify the log (sds audit verify)") from None


def _text(canonical: bytes) -> str:
    """Empty for what is no text: somebody has altered it."""
    try:
        return canonical.decode()
    except UnicodeDecodeError:
        return ""


def _info(signed: SignedHead) -> CheckpointInfo:
    return CheckpointInfo(signed.size, signed.root, signed.note, signed.signed_at)


def _header(uow: UnitOfWork, *, whole: bool) -> tuple[ExportHeader, int]:
    newest, first = uow.audit_tree.checkpoint(), uow.audit_tree.pruned()
    keys = uow.audit_keys.all()
    header = ExportHeader(
        first=first if whole else 0,
        frontier=frontier_at(first, cache(uow.audit_tree.tile)) if whole else Frontier(),
        checkpoint="" if newest is None else newest.note,
        keys=tuple(key.verifier for key in keys),
        endorsements=tuple(key.endorsement for key in keys if key.endorsement),
        prunings=tuple(one.statement for one in uow.audit_tree.prunings()),
        filtered=not whole,
    )
    return header, 0 if newest is None else newest.size


def _whole(uow: UnitOfWork, start: int, end: int) -> list[Hashed]:
    """Every leaf of [start, end), also those whose event, or whose place, is gone."""
    tiles = uow.audit_tree.tiles(0, start // TILE_WIDTH, CHUNK // TILE_WIDTH)
    lines = {line.leaf: line for line in uow.audit_lines.placed(start, end)}
    return [(lines.get(leaf) or LogLine(leaf, 0, None), _stored(tiles, leaf)) for leaf in range(start, end)]


def _matching(uow: UnitOfWork, start: int, end: int, filters: AuditFilter) -> list[Hashed]:
    lines = uow.audit_lines.copied(start, end, CHUNK, filters)
    tile = cache(uow.audit_tree.tile)
    return [(line, _stored({line.leaf // TILE_WIDTH: tile(0, line.leaf // TILE_WIDTH)}, line.leaf)) for line in lines]


def _stored(tiles: Mapping[int, bytes], leaf: int) -> bytes | None:
    tile, place = divmod(leaf, TILE_WIDTH)
    found = tiles.get(tile, b"")[place * HASH_BYTES : (place + 1) * HASH_BYTES]
    return found if len(found) == HASH_BYTES else None

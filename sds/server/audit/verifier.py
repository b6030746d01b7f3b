"""Verifying the log in the database: every event, column, hash, checkpoint and statement, batch by batch in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from sds.audit.checkpoint import Checkpoint, chain_of_keys, parse_checkpoint, parse_pruning
from sds.audit.judge import Claim, Findings, Judge, Leaf, ProblemKind
from sds.audit.merkle import HASH_BYTES, TILE_WIDTH, leaf_hash
from sds.audit.note import InvalidNote, VerifierKey, parse_vkey
from sds.audit.tiles import GrowingTree
from sds.audit.verify import Verdict, remembered_claims
from sds.server.audit.log_keys import LogKeys, LogKeyUnusable
from sds.server.transactions import Transactions
from sds.store.ledger.audit_keys import AuditKey
from sds.store.ledger.lines import LogLine
from sds.store.ledger.tree import Head, Pruned, SignedHead
from sds.store.unit_of_work import UnitOfWork

TILES = 8
"""Of leaves that one transaction reads: 2048 events."""
_PAGE = 1000
_PAUSE = 0.001  # seconds between batches, for what else the threads have to do


class DatabaseVerifier:
    """`verify` reads what stands at its start; what is added or pruned meanwhile is none of its business."""

    def __init__(self, store: Transactions, keys: LogKeys) -> None:
        self._store = store
        self._keys = keys

    async def verify(self, remembered: Sequence[str] = ()) -> Verdict:
        """`remembered`: notes of checkpoints that somebody has seen. Raises StoreError."""
        findings = Findings()
        known = await self._keys.all()
        keys = _chain(known, findings)
        await self._check_key(known, findings)
        head, pruned, signed = await self._store.read(_begin)
        claims, newest = await self._claims(keys, signed, pruned, findings)
        claims += remembered_claims(remembered, keys, newest, findings)
        judge, tree = Judge(findings, claims), GrowingTree()
        first = max((claim.size for claim in claims if claim.kind is ProblemKind.PRUNING), default=0)
        start = 0
        while start < head.size:
            start = await self._store.read(
                lambda uow, at=start: _batch(uow, at, first, head, judge, tree, findings)  # type: ignore[misc]
            )
            await self._compare(tree, findings)
            await asyncio.sleep(_PAUSE)
        judge.finish()
        await self._extras(head, findings)
        return Verdict(findings, head.size, judge.events, newest, tuple(keys))

    async def _check_key(self, known: Sequence[AuditKey], findings: Findings) -> None:
        """Whether the key that verifiers are told of is the one that this server can open."""
        if not known:
            return
        try:
            await self._keys.current()
        except LogKeyUnusable as error:
            findings.add(ProblemKind.KEY, str(error))

    async def _claims(
        self, keys: Sequence[VerifierKey], newest: SignedHead | None, pruned: Sequence[Pruned], findings: Findings
    ) -> tuple[list[Claim], Checkpoint | None]:
        claims = list(_prunings(pruned, keys, findings))
        after, last = 0, None
        while newest is not None and after < newest.size:
            page = await self._store.read(lambda uow, at=after: uow.audit_tree.checkpoints(after=at, limit=_PAGE))  # type: ignore[misc]
            if not page:
                break
            found = await asyncio.to_thread(
                _checkpoints, [one for one in page if one.size <= newest.size], keys, findings
            )
            claims += [Claim(f"the checkpoint of size {one.size}", one.size, one.root) for one in found]
            last = found[-1] if found else last
            after = page[-1].size
        return claims, last

    async def _compare(self, tree: GrowingTree, findings: Findings) -> None:
        """The stored hashes above the leaves against those that follow from the leaves."""
        expected = {place: hashes for place, hashes in tree.changed().items() if place[0]}
        if not expected:
            return

        def look(uow: UnitOfWork) -> list[tuple[int, int]]:
            # A tile that was not full when it was computed may be longer by now.
            return [place for place, hashes in expected.items() if not uow.audit_tree.tile(*place).startswith(hashes)]

        for level, tile in await self._store.read(look):
            width = TILE_WIDTH ** (level + 1)
            findings.add(
                ProblemKind.TREE,
                f"stored hashes over leaves {tile * width} to {(tile + 1) * width - 1} (level {level}) are not theirs",
                tile * width,
            )

    async def _extras(self, head: Head, findings: Findings) -> None:
        extra = await self._store.read(lambda uow: uow.audit_lines.unplaced(head.seq, _PAGE))
        for seq in extra:
            findings.add(ProblemKind.EXTRA, "the event is in no tree: it was put in by hand", None, seq)
        beyond = await self._store.read(lambda uow: uow.audit_lines.misplaced(head.seq, _PAGE))
        for leaf, seq in beyond:
            findings.add(ProblemKind.ORDER, "a leaf stands outside of the tree", leaf, seq)


def _begin(uow: UnitOfWork) -> tuple[Head, tuple[Pruned, ...], SignedHead | None]:
    return uow.audit_tree.head(), uow.audit_tree.prunings(), uow.audit_tree.checkpoint()


def _chain(known: Sequence[AuditKey], findings: Findings) -> list[VerifierKey]:
    """All keys that can be read; each but the first has to be vouched for by the one before it."""
    keys: list[VerifierKey] = []
    for each in known:
        try:
            key = parse_vkey(each.verifier)
            if keys and key not in chain_of_keys(keys[-1], [each.endorsement] if each.endorsement else [])[1:]:
                findings.add(ProblemKind.KEY, f"key {each.number} is vouched for by no key before it")
            keys.append(key)
        except InvalidNote as error:
            findings.add(ProblemKind.KEY, f"key {each.number} cannot be believed: {error}")
    return keys


def _prunings(pruned: Sequence[Pruned], keys: Sequence[VerifierKey], findings: Findings) -> Iterator[Claim]:
    for each in pruned:
        try:
            found = parse_pruning(each.statement, keys)
        except InvalidNote as error:
            findings.add(ProblemKind.PRUNING, f"the statement of pruning at {each.size} cannot be believed: {error}")
            continue
        if found.size != each.size:
            findings.add(ProblemKind.PRUNING, f"the statement of pruning at {each.size} speaks of {found.size} leaves")
            continue
        name = f"the statement that leaves before {found.size} were pruned"
        yield Claim(name, found.size, found.root, ProblemKind.PRUNING)


def _checkpoints(page: Sequence[SignedHead], keys: Sequence[VerifierKey], findings: Findings) -> list[Checkpoint]:
    """Those that are signed by the log. Ed25519 takes its time, so this runs in a thread."""
    good = []
    for each in page:
        try:
            found = parse_checkpoint(each.note, keys)
        except InvalidNote as error:
            findings.add(ProblemKind.CHECKPOINT, f"the checkpoint of size {each.size} cannot be believed: {error}")
            continue
        if (found.size, found.root) != (each.size, each.root):
            findings.add(
                ProblemKind.CHECKPOINT, f"the checkpoint of size {each.size} says something else than its note"
            )
        good.append(found)
    return good


def _batch(
    uow: UnitOfWork, start: int, first: int, head: Head, judge: Judge, tree: GrowingTree, findings: Findings
) -> int:
    """Tell the judge of the next leaves; the one to go on from."""
    end = min(head.size, start + TILES * TILE_WIDTH)
    tiles = uow.audit_tree.tiles(0, start // TILE_WIDTH, TILES)
    lines = {line.leaf: line for line in uow.audit_lines.judged(start, end, end - start)} if end > first else {}
    gone: set[int] = set()
    for number in range(start, end):
        tile, place = divmod(number, TILE_WIDTH)
        stored = tiles.get(tile, b"")[place * HASH_BYTES : (place + 1) * HASH_BYTES]
        hashed = stored if len(stored) == HASH_BYTES else None
        line = lines.get(number)
        if hashed is None and tile not in gone:
            gone.add(tile)
            findings.add(ProblemKind.TREE, f"the tree's hashes from leaf {number} on are gone (tile {tile})", number)
        if number < first and hashed is not None:
            judge.passed([hashed])
        else:
            judge.leaf(_leaf(number, line, hashed))
        tree.append(hashed or leaf_hash((line and line.canonical) or b""))
    return end


def _leaf(number: int, line: LogLine | None, stored: bytes | None) -> Leaf:
    if line is None:
        return Leaf(number, None, None, stored)
    return Leaf(number, line.seq, line.canonical, stored, line.differs)

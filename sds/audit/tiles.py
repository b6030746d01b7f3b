"""A tree that grows, as the tiles that have to be written for it. See sds.audit.merkle for what a tile holds."""

from __future__ import annotations

from collections.abc import Iterable

from sds.audit.merkle import (
    HASH_BYTES,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    DamagedTree,
    Frontier,
    ReadTile,
    fold,
    frontier_at,
)

Place = tuple[int, int]
"""A tile's level and number."""


class GrowingTree:
    """The end of a tree: its unfinished tiles. `append` leaves, then write what `changed` says."""

    __slots__ = ("_changed", "_frontier", "_open")

    def __init__(self, size: int = 0, read: ReadTile | None = None) -> None:
        """A tree of `size` leaves whose tiles `read` gives. Raises DamagedTree if they lack hashes."""
        self._changed: dict[Place, bytes] = {}
        self._open: list[bytearray] = []
        self._frontier = Frontier()
        if size:
            if read is None:
                raise DamagedTree("a tree that is not empty has tiles")
            self._open = [bytearray(part) for part in open_tiles(size, read)]
            self._frontier = frontier_at(size, read)

    @property
    def size(self) -> int:
        return self._frontier.size

    def root(self) -> bytes:
        return self._frontier.root()

    def append(self, leaf: bytes) -> None:
        """Add a leaf by its hash."""
        number, hashed, level = self._frontier.size, leaf, 0
        self._frontier.append(leaf)
        while True:
            if level == len(self._open):
                self._open.append(bytearray())
            tile = self._open[level]
            tile += hashed
            if len(tile) < TILE_BYTES:
                return
            self._changed[level, number >> (TILE_HEIGHT * (level + 1))] = bytes(tile)
            hashed = fold(bytes(tile))
            tile.clear()
            level += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        for leaf in leaves:
            self.append(leaf)

    def changed(self) -> dict[Place, bytes]:
        """What of the tiles is other, or may be other, than when this was last asked: by level and number."""
        found, self._changed = self._changed, {}
        for level, tile in enumerate(self._open):
            if tile:
                found[level, self.size >> (TILE_HEIGHT * (level + 1))] = bytes(tile)
        return found


def open_tiles(size: int, read: ReadTile) -> list[bytes]:
    """The unfinished tile of each level in a tree of `size` leaves; empty where the last one is full."""
    found, count, level = [], size, 0
    while count:
        tile, used = divmod(count, TILE_WIDTH)
        part = read(level, tile)[: used * HASH_BYTES] if used else b""
        if len(part) != used * HASH_BYTES:
            raise DamagedTree(f"tile {tile} of level {level} lacks hashes")
        found.append(part)
        count, level = tile, level + 1
    return found

"""The Merkle tree of RFC 9162 section 2.1 with SHA-256: hashes, roots, and which subtrees prove what.

Hashes are kept in tiles. Entry `i` of level `L` is the root of the perfect subtree over the leaves
[i * 256^L, (i + 1) * 256^L), so level 0 holds the leaves' own hashes; a tile is 256 neighbours of one level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

HASH_BYTES = 32
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = TILE_WIDTH * HASH_BYTES
MAX_SIZE = 2**62
EMPTY_ROOT = sha256(b"").digest()  # RFC 9162 2.1.1: the hash of an empty list

Range = tuple[int, int]
"""Leaves from the first number up to, and without, the second."""
ReadTile = Callable[[int, int], bytes]
"""The hashes of a tile by its level and number; as many as are known. Raises DamagedTree where it is gone."""


class DamagedTree(ValueError):
    """The stored tree lacks hashes that it must have."""


def leaf_hash(content: bytes) -> bytes:
    """RFC 9162 2.1.1: 0x00 before what a leaf stands for."""
    return sha256(b"\0" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 9162 2.1.1: 0x01 before the two children."""
    return sha256(b"\1" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over leaves that have these hashes."""
    frontier = Frontier()
    for one in hashes:
        frontier.append(one)
    return frontier.root()


class Frontier:
    """What of a tree is needed to go on with it: the roots of its perfect subtrees, the largest first."""

    __slots__ = ("_peaks", "_size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        """Raises ValueError unless there is one hash for each bit that is set in `size`."""
        self._size = size
        self._peaks = list(peaks)
        wrong = any(len(peak) != HASH_BYTES for peak in self._peaks)
        if not 0 <= size <= MAX_SIZE or wrong or len(self._peaks) != size.bit_count():
            raise ValueError("the hashes do not belong to a tree of this size")

    @property
    def size(self) -> int:
        return self._size

    @property
    def peaks(self) -> tuple[bytes, ...]:
        return tuple(self._peaks)

    def append(self, leaf: bytes) -> None:
        """Add a leaf by its hash."""
        peaks, merged, size = self._peaks, leaf, self._size
        while size & 1:
            merged = sha256(b"\1" + peaks.pop() + merged).digest()
            size >>= 1
        peaks.append(merged)
        self._size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return EMPTY_ROOT
        found = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            found = node_hash(peak, found)
        return found


def peak_ranges(size: int) -> tuple[Range, ...]:
    """The perfect subtrees of a tree of `size` leaves, the largest first."""
    found, start = [], 0
    for bit in range(size.bit_length() - 1, -1, -1):
        if size >> bit & 1:
            found.append((start, start + (1 << bit)))
            start += 1 << bit
    return tuple(found)


def inclusion_ranges(leaf: int, size: int) -> tuple[Range, ...]:
    """The subtrees whose roots are the inclusion path of `leaf`, in its order (RFC 9162 2.1.3.1).

    Raises ValueError unless 0 <= leaf < size.
    """
    if not 0 <= leaf < size <= MAX_SIZE:
        raise ValueError("the tree has no such leaf")
    found: list[Range] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if leaf < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start = middle
    return tuple(reversed(found))


def consistency_ranges(first: int, second: int) -> tuple[Range, ...]:
    """The subtrees whose roots prove that a tree of `second` leaves begins with that of `first` (RFC 9162 2.1.4.1).

    Raises ValueError unless 0 < first <= second.
    """
    if not 0 < first <= second <= MAX_SIZE:
        raise ValueError("the first tree is empty, or larger than the second")
    found: list[Range] = []
    start, end, known = 0, second, True  # known: whether the verifier has the root of [start, first) already
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start, known = middle, False
    if not known:
        found.append((start, end))
    return tuple(reversed(found))


def range_hash(span: Range, read: ReadTile) -> bytes:
    """The root over the leaves of `span`, which begins where a subtree of a tree does. Raises DamagedTree."""
    start, end = span
    hashes = [_perfect(start + first, start + last, read) for first, last in peak_ranges(end - start)]
    return Frontier(end - start, hashes).root()


def range_hashes(spans: Iterable[Range], read: ReadTile) -> tuple[bytes, ...]:
    return tuple(range_hash(span, read) for span in spans)


def frontier_at(size: int, read: ReadTile) -> Frontier:
    """The frontier of the first `size` leaves. Raises DamagedTree."""
    return Frontier(size, [_perfect(first, last, read) for first, last in peak_ranges(size)])


def verify_inclusion(leaf: int, size: int, hashed: bytes, path: Sequence[bytes], root: bytes) -> bool:
    """Whether `path` proves that the tree with `root` has `hashed` as that leaf (RFC 9162 2.1.3.2)."""
    if not 0 <= leaf < size <= MAX_SIZE:
        return False
    number, last, found = leaf, size - 1, hashed
    for step in path:
        if last == 0:
            return False
        if number & 1 or number == last:
            found = node_hash(step, found)
            while not number & 1 and number != 0:
                number, last = number >> 1, last >> 1
        else:
            found = node_hash(found, step)
        number, last = number >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(first: int, second: int, old: bytes, new: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that the tree `new` begins with all leaves of the tree `old` (RFC 9162 2.1.4.2)."""
    if not 0 < first <= second <= MAX_SIZE:
        return False
    if first == second:
        return not path and old == new
    steps = [old, *path] if first & (first - 1) == 0 else list(path)
    if not steps:
        return False
    number, last = first - 1, second - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    ours = theirs = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            ours, theirs = node_hash(step, ours), node_hash(step, theirs)
            while not number & 1 and number != 0:
                number, last = number >> 1, last >> 1
        else:
            theirs = node_hash(theirs, step)
        number, last = number >> 1, last >> 1
    return last == 0 and ours == old and theirs == new


def _split(size: int) -> int:
    """The largest power of two below `size`, which is at least 2 (RFC 9162 2.1.1)."""
    return 1 << ((size - 1).bit_length() - 1)


def _perfect(start: int, end: int, read: ReadTile) -> bytes:
    """The root of a perfect subtree from the tile that holds it, or the hashes below it."""
    height = (end - start).bit_length() - 1
    level, above = divmod(height, TILE_HEIGHT)
    first = start >> (level * TILE_HEIGHT)
    tile, place = divmod(first, TILE_WIDTH)
    stored = read(level, tile)
    wanted = stored[place * HASH_BYTES : (place + (1 << above)) * HASH_BYTES]
    if len(wanted) != HASH_BYTES << above:
        raise DamagedTree(f"tile {tile} of level {level} lacks hashes")
    return fold(wanted)


def fold(hashes: bytes) -> bytes:
    """The root over a power of two of hashes that stand in a row."""
    while len(hashes) > HASH_BYTES:
        pair = 2 * HASH_BYTES
        hashes = b"".join(
            [sha256(b"\1" + hashes[place : place + pair]).digest() for place in range(0, len(hashes), pair)]
        )
    return hashes

"""The tree against a naive reading of RFC 9162, and against the vectors that its readers share."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sds.audit import merkle
from sds.audit.merkle import DamagedTree, Frontier, leaf_hash, node_hash
from sds.audit.tiles import GrowingTree

# The leaves and roots of the reference tree in Certificate Transparency's own tests (RFC 6962, same hashes as 9162).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]


def numbered(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


def oracle(hashes: list[bytes]) -> bytes:
    """MTH, word for word."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(oracle(hashes[:split]), oracle(hashes[split:]))


class Tiles:
    """Tiles in memory, as a database would hold them."""

    def __init__(self, hashes: list[bytes] | None = None) -> None:
        self.rows: dict[tuple[int, int], bytes] = {}
        if hashes is not None:
            tree = GrowingTree()
            tree.extend(hashes)
            self.rows.update(tree.changed())

    def read(self, level: int, tile: int) -> bytes:
        return self.rows.get((level, tile), b"")


@pytest.fixture(scope="module")
def large() -> tuple[list[bytes], Tiles]:
    hashes = numbered(1500)
    return hashes, Tiles(hashes)


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_of_the_reference_tree(size: int) -> None:
    assert merkle.root_of(HASHES[:size]).hex() == ROOTS[size - 1]


def test_the_empty_tree() -> None:
    assert merkle.root_of([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("leaf", "size", "path"),
    [
        (0, 1, []),
        (
            0,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    ],
)
def test_inclusion_in_the_reference_tree(leaf: int, size: int, path: list[str]) -> None:
    found = merkle.range_hashes(merkle.inclusion_ranges(leaf, size), Tiles(HASHES).read)
    assert [step.hex() for step in found] == path
    assert merkle.verify_inclusion(leaf, size, HASHES[leaf], found, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(
    ("first", "second", "path"),
    [
        (1, 1, []),
        (
            1,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            [
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ],
)
def test_consistency_of_the_reference_tree(first: int, second: int, path: list[str]) -> None:
    found = merkle.range_hashes(merkle.consistency_ranges(first, second), Tiles(HASHES).read)
    assert [step.hex() for step in found] == path
    old, new = bytes.fromhex(ROOTS[first - 1]), bytes.fromhex(ROOTS[second - 1])
    assert merkle.verify_consistency(first, second, old, new, found)


@given(st.integers(0, 600))
def test_a_root_is_what_the_definition_says(size: int) -> None:
    assert merkle.root_of(numbered(size)) == oracle(numbered(size))


@given(st.data())
def test_every_leaf_is_proved_and_nothing_else_is(large: tuple[list[bytes], Tiles], data: st.DataObject) -> None:
    hashes, tiles = large
    size = data.draw(st.integers(1, len(hashes)))
    leaf = data.draw(st.integers(0, size - 1))
    root = oracle(hashes[:size])
    path = merkle.range_hashes(merkle.inclusion_ranges(leaf, size), tiles.read)
    assert merkle.verify_inclusion(leaf, size, hashes[leaf], path, root)
    assert not merkle.verify_inclusion(leaf, size, leaf_hash(b"another"), path, root)
    assert not merkle.verify_inclusion(leaf, size, hashes[leaf], (*path, root), root)
    other = data.draw(st.integers(-1, size).filter(lambda number: number != leaf))
    assert not merkle.verify_inclusion(other, size, hashes[leaf], path, root)
    if path:
        assert not merkle.verify_inclusion(leaf, size, hashes[leaf], path[:-1], root)
        place = data.draw(st.integers(0, len(path) - 1))
        wrong = tuple(leaf_hash(step) if number == place else step for number, step in enumerate(path))
        assert not merkle.verify_inclusion(leaf, size, hashes[leaf], wrong, root)


@given(st.data())
def test_every_later_tree_is_proved_and_no_other(large: tuple[list[bytes], Tiles], data: st.DataObject) -> None:
    hashes, tiles = large
    second = data.draw(st.integers(1, len(hashes)))
    first = data.draw(st.integers(1, second))
    old, new = oracle(hashes[:first]), oracle(hashes[:second])
    path = merkle.range_hashes(merkle.consistency_ranges(first, second), tiles.read)
    assert merkle.verify_consistency(first, second, old, new, path)
    assert not merkle.verify_consistency(first, second, leaf_hash(b"another"), new, path)
    assert not merkle.verify_consistency(first, second, old, leaf_hash(b"another"), path)
    assert not merkle.verify_consistency(first, second, old, new, (*path, new))
    if path:
        assert not merkle.verify_consistency(first, second, old, new, path[:-1])
        place = data.draw(st.integers(0, len(path) - 1))
        wrong = tuple(leaf_hash(step) if number == place else step for number, step in enumerate(path))
        assert not merkle.verify_consistency(first, second, old, new, wrong)


@given(st.lists(st.integers(0, 400), max_size=6))
def test_a_tree_that_grows_in_steps_is_the_same_tree(steps: list[int]) -> None:
    hashes = numbered(sum(steps))
    stored = Tiles()
    done = 0
    for step in steps:
        tree = GrowingTree(done, stored.read)
        tree.extend(hashes[done : done + step])
        done += step
        stored.rows.update(tree.changed())
        assert tree.size == done
        assert tree.root() == oracle(hashes[:done])
    assert stored.rows == Tiles(hashes).rows
    assert b"".join(stored.read(0, tile) for tile in range(done // 256 + 1)) == b"".join(hashes)


@given(st.data())
def test_any_earlier_tree_is_had_from_the_tiles_of_a_later_one(
    large: tuple[list[bytes], Tiles], data: st.DataObject
) -> None:
    hashes, tiles = large
    size = data.draw(st.integers(0, len(hashes)))
    assert merkle.frontier_at(size, tiles.read).root() == oracle(hashes[:size])


def test_two_levels_of_tiles() -> None:
    hashes = numbered(256 * 256 + 3)
    tiles = Tiles(hashes)
    assert {level for level, _ in tiles.rows} == {0, 1, 2}
    assert tiles.read(2, 0) == merkle.root_of(hashes[: 256 * 256])
    assert merkle.frontier_at(len(hashes), tiles.read).root() == merkle.root_of(hashes)
    path = merkle.range_hashes(merkle.inclusion_ranges(70, len(hashes)), tiles.read)
    assert merkle.verify_inclusion(70, len(hashes), hashes[70], path, merkle.root_of(hashes))


@pytest.mark.parametrize("gone", [(0, 0), (0, 5), (1, 0)])
def test_hashes_that_are_gone_are_missed(gone: tuple[int, int]) -> None:
    tiles = Tiles(numbered(1500))
    tiles.rows[gone] = tiles.rows[gone][:-32]
    with pytest.raises(DamagedTree):
        merkle.frontier_at(1500, tiles.read)
        merkle.range_hashes(merkle.inclusion_ranges(254, 256), tiles.read)
    with pytest.raises(DamagedTree):
        if gone == (0, 0):
            merkle.range_hashes([(255, 256)], tiles.read)
        GrowingTree(1500, tiles.read)


@pytest.mark.parametrize(("size", "peaks"), [(1, 0), (3, 1), (4, 2), (-1, 0)])
def test_a_frontier_has_a_hash_for_each_bit(size: int, peaks: int) -> None:
    with pytest.raises(ValueError, match="do not belong"):
        Frontier(size, HASHES[:peaks])


@pytest.mark.parametrize(("leaf", "size"), [(0, 0), (1, 1), (-1, 4)])
def test_no_path_to_a_leaf_that_is_not_there(leaf: int, size: int) -> None:
    with pytest.raises(ValueError, match="no such leaf"):
        merkle.inclusion_ranges(leaf, size)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (2, 1), (0, 0)])
def test_nothing_is_consistent_with_an_empty_or_larger_tree(first: int, second: int) -> None:
    with pytest.raises(ValueError, match="empty, or larger"):
        merkle.consistency_ranges(first, second)
    assert not merkle.verify_consistency(first, second, ROOTS[0].encode(), ROOTS[0].encode(), [])

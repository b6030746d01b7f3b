"""A copy of the log is verified by keys and memory alone, and what is wrong with it is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from sds.audit.checkpoint import Checkpoint, Pruning, next_key_text, signed
from sds.audit.export import ExportHeader, InvalidExport, leaf_line, parse_header, parse_line
from sds.audit.judge import MAX_PROBLEMS, ProblemKind
from sds.audit.merkle import Frontier, consistency_ranges, leaf_hash, range_hashes, root_of
from sds.audit.note import VerifierKey, sign_note
from sds.audit.verify import ExportVerifier, Verdict

ORIGIN = "example.org/audit/0123abcd"
NOW = datetime(2026, 5, 4, tzinfo=UTC)
PRIVATE = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(3)]
KEYS = [VerifierKey(ORIGIN, private.public_key().public_bytes_raw()) for private in PRIVATE]
NEXT = sign_note(next_key_text(KEYS[1]), KEYS[0], PRIVATE[0].sign)
EVENTS = [b'{"action":"test.%d"}' % number for number in range(40)]
HASHES = [leaf_hash(each) for each in EVENTS]


def read_tile(level: int, tile: int) -> bytes:
    return b"".join(HASHES) if (level, tile) == (0, 0) else b""


def checkpoint(size: int, key: int = 0, root: bytes | None = None) -> str:
    root = root_of(HASHES[:size]) if root is None else root
    return signed(Checkpoint(ORIGIN, size, root).text, KEYS[key], PRIVATE[key].sign)


def header(first: int = 0, size: int = 40, **changes: object) -> ExportHeader:
    frontier = Frontier()
    for hashed in HASHES[:first]:
        frontier.append(hashed)
    base = ExportHeader(first, frontier, checkpoint(size), (KEYS[0].text,), (), ())
    return replace(base, **changes)


def lines(first: int = 0) -> list[bytes]:
    return [leaf_line(n, n + 1, EVENTS[n], HASHES[n])[:-1] for n in range(first, 40)]


def verify(head: ExportHeader, body: list[bytes], keys: tuple[VerifierKey, ...] = (), remembered=()) -> Verdict:
    verifier = ExportVerifier(keys, remembered)
    for line in (head.line(), *body):
        verifier.feed(line)
    return verifier.verdict()


def kinds(verdict: Verdict) -> list[tuple[ProblemKind, int | None, int | None]]:
    return [(problem.kind, problem.leaf, problem.sequence) for problem in verdict.findings.problems]


def test_a_whole_log() -> None:
    verdict = verify(header(), lines(), (KEYS[0],), [checkpoint(1), checkpoint(17), checkpoint(40)])
    assert verdict.ok
    assert (verdict.size, verdict.events) == (40, 40)
    assert verdict.checkpoint == Checkpoint(ORIGIN, 40, root_of(HASHES))


@given(st.integers(0, 39))
@settings(max_examples=40)
def test_any_event_that_is_altered_is_named(leaf: int) -> None:
    body = lines()
    body[leaf] = leaf_line(leaf, leaf + 1, b'{"action":"evil"}', HASHES[leaf])[:-1]
    assert kinds(verify(header(), body)) == [(ProblemKind.ALTERED, leaf, leaf + 1)]
    body[leaf] = leaf_line(leaf, leaf + 1, b'{"action":"evil"}', leaf_hash(b'{"action":"evil"}'))[:-1]
    assert kinds(verify(header(), body)) == [(ProblemKind.CHECKPOINT, None, None)]


@given(st.integers(0, 39), st.integers(0, 39))
@settings(max_examples=60)
def test_any_event_that_is_gone_or_moved_is_named(one: int, other: int) -> None:
    body = lines()
    body[one] = leaf_line(one, one + 1, None, HASHES[one])[:-1]
    assert kinds(verify(header(), body)) == [(ProblemKind.MISSING, one, one + 1)]
    body = lines()
    del body[one]
    found = kinds(verify(header(), body))
    assert found
    assert one == 39 or found[0] == (ProblemKind.ORDER, one + 1, one + 2)
    if one != other:
        body = lines()
        first, second = min(one, other), max(one, other)
        body[first] = leaf_line(first, first + 1, EVENTS[second], HASHES[first])[:-1]
        body[second] = leaf_line(second, second + 1, EVENTS[first], HASHES[second])[:-1]
        assert kinds(verify(header(), body)) == [
            (ProblemKind.ALTERED, first, first + 1), (ProblemKind.ALTERED, second, second + 1),
        ]  # fmt: skip


def test_an_event_that_never_was_is_named() -> None:
    body = lines()
    body.insert(7, leaf_line(7, 8, b'{"action":"evil"}', leaf_hash(b'{"action":"evil"}'))[:-1])
    assert kinds(verify(header(), body))[0] == (ProblemKind.ORDER, 7, 8)
    body = [*lines(), leaf_line(40, 41, b"{}", leaf_hash(b"{}"))[:-1]]
    assert kinds(verify(header(), body)) == [(ProblemKind.EXTRA, 40, None)]


def test_numbers_that_do_not_rise() -> None:
    body = lines()
    body[5] = leaf_line(5, 5, EVENTS[5], HASHES[5])[:-1]
    assert kinds(verify(header(), body)) == [(ProblemKind.ORDER, 5, 5)]


def test_the_end_cut_off() -> None:
    assert kinds(verify(header(), lines()[:30])) == [(ProblemKind.CUT, None, None)]
    # Cut with a checkpoint that fits; a remembered one knows better.
    cut = header(size=30)
    assert verify(cut, lines()[:30]).ok
    found = verify(cut, lines()[:30], remembered=[checkpoint(35)])
    assert kinds(found) == [(ProblemKind.CUT, None, None)]
    assert "the remembered checkpoint of size 35" in found.findings.problems[0].what


def test_history_that_was_written_anew() -> None:
    other = checkpoint(20, root=root_of([leaf_hash(b"once"), *HASHES[1:20]]))
    found = verify(header(), lines(), remembered=[other])
    assert kinds(found) == [(ProblemKind.CHECKPOINT, None, None)]
    assert "leaves 0 to 19" in found.findings.problems[0].what


def test_where_it_went_wrong_is_bounded_by_what_still_held() -> None:
    changed = [*HASHES[:25], leaf_hash(b"evil"), *HASHES[26:]]
    body = lines()
    body[25] = leaf_line(25, 26, b"evil", leaf_hash(b"evil"))[:-1]
    found = verify(header(), body, remembered=[checkpoint(20), checkpoint(30)])
    assert ["leaves 20 to 29" in one.what for one in found.findings.problems] == [True, False]
    assert root_of(changed) != root_of(HASHES)


def test_a_pruned_log_needs_its_statement() -> None:
    statement = signed(Pruning(ORIGIN, 16, root_of(HASHES[:16]), NOW, NOW).text, KEYS[0], PRIVATE[0].sign)
    assert verify(header(16, prunings=(statement,)), lines(16), (KEYS[0],), [checkpoint(16), checkpoint(39)]).ok
    assert kinds(verify(header(16), lines(16))) == [(ProblemKind.MISSING, None, None)]
    early = verify(header(16, prunings=(statement,)), lines(16), remembered=[checkpoint(9)])
    assert kinds(early) == [(ProblemKind.CHECKPOINT, None, None)], "it is not passed over in silence"
    verifier = ExportVerifier((KEYS[0],), [checkpoint(9)])
    for line in (header(16, prunings=(statement,)).line(), *lines(16)):
        verifier.feed(line)
    (waits,) = verifier.early
    verifier.prove(waits, range_hashes(consistency_ranges(9, 39), read_tile))
    assert verifier.early, "a proof about another tree proves nothing"
    verifier.prove(waits, range_hashes(consistency_ranges(9, 40), read_tile))
    assert verifier.verdict().ok
    wrong = signed(Pruning(ORIGIN, 16, root_of(HASHES[:15]), NOW, NOW).text, KEYS[0], PRIVATE[0].sign)
    assert kinds(verify(header(16, prunings=(wrong,)), lines(16))) == [(ProblemKind.PRUNING, None, None)]
    forged = signed(Pruning(ORIGIN, 16, root_of(HASHES[:16]), NOW, NOW).text, KEYS[2], PRIVATE[2].sign)
    assert {kind for kind, _, _ in kinds(verify(header(16, prunings=(forged,)), lines(16)))} == {
        ProblemKind.PRUNING, ProblemKind.MISSING,
    }  # fmt: skip


def test_keys() -> None:
    both = (KEYS[0].text, KEYS[1].text)
    later = header(checkpoint=checkpoint(40, 1), keys=both, endorsements=(NEXT,))
    for trusted in ((), (KEYS[0],), (KEYS[1],)):
        assert verify(later, lines(), trusted).ok
    assert verify(later, lines(), (KEYS[0],), [checkpoint(10, 0), checkpoint(20, 1)]).ok
    alone = header(checkpoint=checkpoint(40, 1), keys=both)
    assert (ProblemKind.KEY, None, None) in kinds(verify(alone, lines(), (KEYS[0],)))
    stranger = verify(header(checkpoint=checkpoint(40, 2), keys=(KEYS[2].text,)), lines(), (KEYS[0],))
    assert {kind for kind, _, _ in kinds(stranger)} == {ProblemKind.KEY, ProblemKind.CHECKPOINT, ProblemKind.EXTRA}
    assert stranger.checkpoint is None


def test_a_remembered_checkpoint_of_another_log() -> None:
    other = VerifierKey("other.example/audit/1", KEYS[0].public_key)
    note = signed(Checkpoint(other.name, 3, bytes(32)).text, other, PRIVATE[0].sign)
    found = verify(header(), lines(), (KEYS[0], other), [note])
    assert (ProblemKind.CHECKPOINT, None, None) in kinds(found)


def test_many_problems_are_counted() -> None:
    verifier = ExportVerifier()
    verifier.feed(header(size=40).line())
    for number in range(MAX_PROBLEMS + 7):
        verifier.feed(leaf_line(number, number + 1, b"evil", HASHES[0])[:-1])
    found = verifier.verdict().findings
    assert len(found.problems) == MAX_PROBLEMS
    assert found.more >= 7
    assert not found.ok


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(raw: bytes) -> None:
    for read in (parse_line, parse_header):
        with pytest.raises(InvalidExport):
            read(raw)


@given(st.integers(0, 2**60), st.none() | st.integers(0, 2**60), st.none() | st.binary(max_size=80), st.booleans())
def test_a_leaf_line_is_read_as_it_was_written(leaf: int, seq: int | None, raw: bytes | None, stored: bool) -> None:
    hashed = leaf_hash(b"x") if stored else None
    found = parse_line(leaf_line(leaf, seq, raw, hashed)[:-1])
    assert (found.number, found.sequence, found.stored) == (leaf, seq, hashed)
    assert found.canonical == (None if raw == b"null" else raw)


def test_an_event_that_holds_the_end_of_a_line() -> None:
    sly = b'{"a":",\\"leaf\\":1,"}' + b',"leaf":1,"leaf_hash":null,"sequence":null}'
    assert parse_line(leaf_line(4, 5, sly, None)[:-1]).canonical == sly


def test_a_header_is_read_as_it_was_written() -> None:
    head = header(13, prunings=("p",), endorsements=("e",), filtered=True)
    found = parse_header(head.line())
    assert found.frontier.peaks == head.frontier.peaks
    assert replace(found, frontier=head.frontier) == head
    with pytest.raises(InvalidExport, match="without filters"):
        verify(head, [])
    with pytest.raises(InvalidExport, match="empty"):
        ExportVerifier().verdict()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"version":1', b'"version":2'),
        (b'"first":13', b'"first":-1'),
        (b'"first":13', b'"first":true'),
        (b'"first":13', b'"first":12'),
        (b'"first":13', b'"first":1.5'),
        (b'"keys":[', b'"keys":[1,'),
        (b'"prunings":[]', b'"prunings":{}'),
        (b'"export"', b'"import"'),
    ],
)
def test_what_is_no_header(old: bytes, new: bytes) -> None:
    with pytest.raises(InvalidExport):
        parse_header(header(13).line().replace(old, new))

"""What was written down is read again, whatever the machine did in between; and nothing else is."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ca.revocation import Reason
from sds.server.revocation.journal import REVOKED, TAINTED, JournalUnusable, Known, Marks, decode, encode
from sds.server.revocation.journal_file import JournalFile
from sds.store.revocation.records import BlockKind, BlockRecord, RevocationRecord
from tests.fakes.clock import EPOCH
from tests.fakes.small_disk import MountRefused, small_disk

TIMES = st.integers(0, 10**9).map(lambda seconds: EPOCH + timedelta(seconds=seconds, microseconds=seconds % 7))
TEXTS = st.text(max_size=20)
BLOCKS = st.builds(
    BlockRecord,
    id=st.text("abc123", min_size=1, max_size=8),
    kind=st.sampled_from(BlockKind),
    value=TEXTS,
    reason=st.sampled_from(Reason),
    incident=TEXTS,
    created_at=TIMES,
    created_by=TEXTS,
    lifted_at=st.none() | TIMES,
    lifted_by=TEXTS,
)
REVOCATIONS = st.builds(
    RevocationRecord,
    serial=st.text("0123456789abcdef", min_size=2, max_size=40),
    authority_id=st.text("0123456789abcdef", max_size=40),
    not_after=TIMES,
    reason=st.sampled_from(Reason),
    revoked_at=TIMES,
    block_id=st.text("abc123", max_size=8),
)
NUMBERS = st.integers(0, 2**62)
FACTS = st.builds(
    Known,
    epochs=st.frozensets(st.text("abc", min_size=1, max_size=5), max_size=3),
    marks=st.just(Marks()) | st.builds(Marks, st.text("abc", min_size=1, max_size=3), NUMBERS, NUMBERS, NUMBERS),
    blocks=st.lists(BLOCKS, max_size=4).map(lambda found: {one.id: one for one in found}),
    revocations=st.lists(REVOCATIONS, max_size=6).map(lambda found: {one.serial: one for one in found}),
    authorities=st.dictionaries(
        st.text("abc", min_size=1, max_size=4), st.sampled_from([TAINTED, REVOKED]), max_size=2
    ),
)


def block(identifier: str = "b1", kind: BlockKind = BlockKind.ENTRY, value: str = "entry-1") -> BlockRecord:
    return BlockRecord(identifier, kind, value, Reason.KEY_COMPROMISE, "INC-1", EPOCH, "uid:0")


def revocation(serial: str = "0a", **changes: object) -> RevocationRecord:
    base = RevocationRecord(serial, "ef" * 20, EPOCH + timedelta(hours=1), Reason.KEY_COMPROMISE, EPOCH, "b1")
    return replace(base, **changes)  # type: ignore[arg-type]


SAMPLE = Known(frozenset({"e1"}), Marks("e1", 5, 6, 7), {"b1": block()}, {"0a": revocation()})


@given(st.lists(FACTS, max_size=4))
def test_what_was_written_is_read(parts: list[Known]) -> None:
    content, seal, whole = b"", "", Known()
    for part in parts:
        lines, seal = encode(part, seal)
        content += lines
        whole = whole.joined(part)
    assert decode(content) == (whole, seal, len(content))


@given(FACTS, FACTS, st.data())
def test_a_cut_off_end_is_left_out_and_the_rest_stands(first: Known, second: Known, data: st.DataObject) -> None:
    sound, seal = encode(first)
    more, _ = encode(second, seal)
    cut = data.draw(st.integers(0, len(more)))
    known, _, good = decode(sound + more[:cut])
    assert good <= len(sound) + cut
    assert good >= len(sound)
    assert first.epochs <= known.epochs
    assert {name: known.revocations[name] for name in first.revocations.keys() - second.revocations.keys()} == {
        name: one for name, one in first.revocations.items() if name not in second.revocations
    }


def test_no_altered_line_is_believed() -> None:
    content, seal = encode(SAMPLE)
    more, _ = encode(SAMPLE, seal)
    for at in range(len(content)):
        altered = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] + more
        with pytest.raises(JournalUnusable):
            decode(altered)


def test_no_line_can_be_taken_out() -> None:
    content, seal = encode(SAMPLE)
    more, _ = encode(SAMPLE, seal)
    lines = content.splitlines(keepends=True)
    assert len(lines) == 4
    for gone in range(len(lines)):
        with pytest.raises(JournalUnusable):
            decode(b"".join(lines[:gone] + lines[gone + 1 :]) + more)


def test_lines_of_a_newer_version_are_passed_over() -> None:
    import json  # noqa: PLC0415

    from sds.server.revocation.journal import _seal  # noqa: PLC0415

    content, seal = encode(SAMPLE)
    text = json.dumps({"is": "something new", "n": 1})
    extra = f"{_seal(seal, text)} {text}\n".encode()
    assert decode(content + extra)[0] == SAMPLE


def test_news_are_what_the_other_does_not_say() -> None:
    later = Known(
        frozenset({"e1", "e2"}),
        Marks("e2", 1, 8, 9),
        {"b1": replace(block(), lifted_at=EPOCH, lifted_by="uid:1"), "b2": block("b2")},
        {"0a": revocation(), "0b": revocation("0b")},
    )
    news = SAMPLE.news(later)
    assert (news.epochs, news.marks) == ({"e2"}, later.marks)
    assert news.blocks.keys() == {"b1", "b2"}
    assert news.revocations.keys() == {"0b"}
    assert SAMPLE.joined(news) == later
    assert SAMPLE.joined(Known()) == SAMPLE


def test_expired_certificates_and_lifted_holds_are_forgotten() -> None:
    lifted = replace(block("b2"), lifted_at=EPOCH)
    known = Known(
        blocks={"b1": block(), "b2": lifted},
        revocations={
            one.serial: one
            for one in (
                revocation("0a", not_after=EPOCH),
                revocation("0b", not_after=EPOCH - timedelta(seconds=1)),
                revocation("0c", block_id="b2", reason=Reason.CERTIFICATE_HOLD),
                revocation("0d", block_id="b2"),
                revocation("0e", reason=Reason.CERTIFICATE_HOLD),
            )
        },
    )
    assert known.unexpired(EPOCH).revocations.keys() == {"0a", "0d", "0e"}


def test_marks_compare_revisions_within_one_name_only() -> None:
    now = Marks("e1", 5, 6, 7)
    assert not now.behind(now)
    assert now.behind(replace(now, revision=6))
    assert not now.behind(replace(now, epoch="e2", revision=6))
    assert now.behind(replace(now, bundle_sequence=7))
    assert now.behind(replace(now, crl_number=8))


# On disk


def test_a_file_is_private_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    file = JournalFile(path)
    assert file.load() == Known()
    file.append(SAMPLE)
    size = path.stat().st_size
    file.append(Known(revocations={"0b": revocation("0b")}))
    assert path.stat().st_size > size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = JournalFile(path)
    known = again.load()
    assert known.revocations.keys() == {"0a", "0b"}
    again.append(Known(epochs=frozenset({"e2"})))  # goes on where the first one stopped
    assert JournalFile(path).load().epochs == {"e1", "e2"}


def test_a_torn_end_is_cut_and_the_file_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    JournalFile(path).append(SAMPLE)
    sound = path.read_bytes()
    path.write_bytes(sound + b'0123 {"is": "bl')
    file = JournalFile(path)
    with capture_logs() as logs:
        assert file.load() == SAMPLE
    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert path.read_bytes() == sound
    file.append(Known(revocations={"0b": revocation("0b")}))
    assert JournalFile(path).load().revocations.keys() == {"0a", "0b"}


def test_rewriting_replaces_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    file = JournalFile(path)
    file.append(SAMPLE)
    smaller = replace(SAMPLE, revocations={})
    file.rewrite(smaller)
    assert JournalFile(path).load() == smaller
    assert [entry.name for entry in tmp_path.iterdir()] == ["journal"]
    file.append(SAMPLE)
    assert JournalFile(path).load() == SAMPLE


def test_a_full_disk_leaves_the_file_as_it_was() -> None:
    try:
        with small_disk("1m") as disk:
            path = disk.folder / "journal"
            file = JournalFile(path)
            file.append(SAMPLE)
            sound = path.read_bytes()
            disk.fill()
            many = {f"{n:040x}": revocation(f"{n:040x}") for n in range(2000)}
            with pytest.raises(OSError, match="space"):
                file.append(Known(revocations=many))
            assert path.read_bytes() == sound
            disk.relieve()
            file.append(Known(revocations={"0b": revocation("0b")}))
            assert JournalFile(path).load().revocations.keys() == {"0a", "0b"}
    except MountRefused as refused:
        pytest.skip(str(refused))


def test_links_and_folders_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"")
    link = tmp_path / "journal"
    link.symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        JournalFile(link).load()
    with pytest.raises(OSError, match="symbolic"):
        JournalFile(link).append(SAMPLE)
    assert target.read_bytes() == b""


def test_of_another_database_it_is_set_aside(tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "journal")
    file.append(SAMPLE)
    aside = file.set_aside()
    assert aside.exists()
    assert file.load() == Known()
    file.append(SAMPLE)
    assert file.load() == SAMPLE

"""Signed notes and checkpoints, byte for byte as others read and write them."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sds.audit.checkpoint import (
    Checkpoint,
    Pruning,
    chain_of_keys,
    next_key_text,
    parse_checkpoint,
    parse_pruning,
    signed,
    unverified_checkpoint,
)
from sds.audit.note import InvalidNote, VerifierKey, parse_note, parse_vkey, sign_note

# The example in the documentation of Go's golang.org/x/mod/sumdb/note, which the format comes from.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The example in c2sp.org/tlog-checkpoint.
C2SP_CHECKPOINT = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
ORIGIN = "example.org/audit/0123abcd"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = VerifierKey(ORIGIN, PRIVATE.public_key().public_bytes_raw())
OTHER_PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
OTHER = VerifierKey(ORIGIN, OTHER_PRIVATE.public_key().public_bytes_raw())
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(32))
NOTE = signed(CHECKPOINT.text, KEY, PRIVATE.sign)
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def test_a_note_that_go_signed() -> None:
    key = parse_vkey(GO_VKEY)
    assert key.text == GO_VKEY
    assert parse_note(GO_NOTE).verified_by([key]) == (key,)
    with pytest.raises(InvalidNote, match="false"):
        parse_note(GO_NOTE.replace("your problem is", "your problems are")).verified_by([key])


def test_the_checkpoint_of_the_specification() -> None:
    found = unverified_checkpoint(C2SP_CHECKPOINT)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert C2SP_CHECKPOINT.startswith(found.text + "\n")


def test_a_checkpoint_is_three_lines_and_a_signature() -> None:
    signature = base64.b64encode(KEY.id + PRIVATE.sign(CHECKPOINT.text.encode())).decode()
    assert f"{ORIGIN}\n7\n{base64.b64encode(bytes(32)).decode()}\n\n— {ORIGIN} {signature}\n" == NOTE
    assert parse_checkpoint(NOTE, [KEY]) == parse_checkpoint(NOTE.encode(), [OTHER, KEY]) == CHECKPOINT


def test_signatures_of_strangers_are_passed_over() -> None:
    both = NOTE + "— someone.example/witness AAAAAAAA\n"
    assert parse_checkpoint(both, [KEY]) == CHECKPOINT
    with pytest.raises(InvalidNote, match="none of the known keys"):
        parse_checkpoint(both, [OTHER])


def test_a_false_signature_of_a_known_key_condemns_the_note() -> None:
    forged = base64.b64encode(OTHER.id + PRIVATE.sign(CHECKPOINT.text.encode())).decode()
    with pytest.raises(InvalidNote, match="false"):
        parse_checkpoint(NOTE + f"— {ORIGIN} {forged}\n", [KEY, OTHER])


@given(st.integers(0, len(NOTE.encode()) - 1), st.integers(1, 255))
def test_no_byte_of_a_checkpoint_can_be_another(place: int, flip: int) -> None:
    raw = bytearray(NOTE.encode())
    raw[place] ^= flip
    with pytest.raises(InvalidNote):
        parse_checkpoint(bytes(raw), [KEY])


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
def test_whatever_comes_is_read_or_refused(raw: bytes) -> None:
    for read in (unverified_checkpoint, parse_note):
        try:
            read(raw)
        except InvalidNote:
            continue


@pytest.mark.parametrize(
    "text",
    [
        NOTE.replace("\n7\n", "\n07\n"),
        NOTE.replace("\n7\n", "\n+7\n"),
        NOTE.replace("\n7\n", "\n-7\n"),
        NOTE.replace("\n7\n", "\n\u0667\n"),
        NOTE.replace("\n7\n", f"\n{2**62 + 1}\n"),
        NOTE.replace("\n\n", "\n\n\n"),
        NOTE.replace("\n\n", "\nextension\n\n"),
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("— ", "- "),
        NOTE[:-1],
        NOTE + "\n",
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("=\n", "\n", 1),
        NOTE.replace("A=\n", "B=\n", 1),
        NOTE + NOTE.partition("\n\n")[2] * 16,
        "",
        "\n\n",
    ],
)
def test_what_is_no_checkpoint(text: str) -> None:
    with pytest.raises(InvalidNote):
        unverified_checkpoint(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        KEY.text.replace("+", "-", 1),
        KEY.text.replace(KEY.id.hex(), "00000000"),
        GO_VKEY.replace("c74f20a3", "C74F20A3"),
        KEY.text + "AA",
        KEY.text + "\n",
        f"{ORIGIN}+{KEY.id.hex()}+" + base64.b64encode(b"\x02" + KEY.public_key).decode(),
        f"{ORIGIN}+{KEY.id.hex()}+" + base64.b64encode(b"\x01" + KEY.public_key[:-1]).decode(),
        " " + KEY.text,
    ],
)
def test_what_is_no_verifier_key(text: str) -> None:
    with pytest.raises(InvalidNote):
        parse_vkey(text)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "line\nbreak", "no\u00a0break"])
def test_names_that_a_key_cannot_have(name: str) -> None:
    with pytest.raises(InvalidNote):
        VerifierKey(name, KEY.public_key)


@pytest.mark.parametrize("text", ["no newline", "empty\n\nline\n", "a\ttab\n"])
def test_texts_that_are_not_signed(text: str) -> None:
    with pytest.raises(InvalidNote):
        sign_note(text, KEY, PRIVATE.sign)


def test_a_statement_of_pruning() -> None:
    pruning = Pruning(ORIGIN, 512, bytes(range(32)), NOW, NOW)
    note = signed(pruning.text, KEY, PRIVATE.sign)
    assert parse_pruning(note, [KEY]) == pruning
    for wrong in (NOTE, note.replace("512", "513"), note.replace("2026-05-04T", "2026-05-05T", 1)):
        with pytest.raises(InvalidNote):
            parse_pruning(wrong, [KEY])
    with pytest.raises(InvalidNote):
        parse_checkpoint(note, [KEY])


def test_the_key_of_another_log_signs_nothing_here() -> None:
    stranger = VerifierKey("other.example/audit/1", KEY.public_key)
    note = signed(CHECKPOINT.text, stranger, PRIVATE.sign)
    with pytest.raises(InvalidNote, match="another log"):
        parse_checkpoint(note, [stranger])


def test_a_key_vouches_for_the_next_one() -> None:
    third_private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    third = VerifierKey(ORIGIN, third_private.public_key().public_bytes_raw())
    notes = [
        sign_note(next_key_text(OTHER), KEY, PRIVATE.sign),
        sign_note(next_key_text(third), OTHER, OTHER_PRIVATE.sign),
    ]
    assert chain_of_keys(KEY, notes) == (KEY, OTHER, third)
    assert chain_of_keys(OTHER, notes) == (OTHER, third)
    assert chain_of_keys(third, notes) == (third,)
    with pytest.raises(InvalidNote):
        chain_of_keys(KEY, [notes[0].replace(OTHER.text, third.text)])
    with pytest.raises(InvalidNote):
        chain_of_keys(KEY, [NOTE])

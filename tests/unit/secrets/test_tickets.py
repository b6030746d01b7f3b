from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.spiffe_id import SpiffeId
from ca.masked import Masked
from sds.secrets.secret import SecretKind
from sds.secrets.tickets import KEPT, KEY_BYTES, Epoch, due, order, ticket_key, ticket_keys
from tests.fakes.clock import EPOCH

WEB = SpiffeId.parse("spiffe://example.org/web")
DB = SpiffeId.parse("spiffe://example.org/db")
EVERY = timedelta(hours=12)
MASTER = Masked(b"\x07" * 32)


def epochs(*numbers: int, first: datetime = EPOCH) -> tuple[Epoch, ...]:
    return tuple(Epoch(number, first + index * EVERY) for index, number in enumerate(numbers))


def by_hand(master: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 sections 2.2 and 2.3, without a salt."""
    pseudorandom = hmac.digest(b"\0" * 32, master, hashlib.sha256)
    block, made, number = b"", b"", 1
    while len(made) < length:
        block = hmac.digest(pseudorandom, block + info + bytes([number]), hashlib.sha256)
        made, number = made + block, number + 1
    return made[:length]


def test_a_key_is_hkdf_of_the_master_for_one_identity_and_one_epoch() -> None:
    info = b"".join(
        len(part).to_bytes(4, "big") + part
        for part in (b"sds session ticket keys v1", (3).to_bytes(8, "big"), b"spiffe://example.org/web")
    )
    assert ticket_key(MASTER, 3, WEB).reveal() == by_hand(b"\x07" * 32, info, KEY_BYTES)


def test_keys_of_others_and_of_other_epochs_share_nothing() -> None:
    keys = [
        ticket_key(Masked(master), epoch, spiffe_id).reveal()
        for master in (b"\x07" * 32, b"\x08" * 32)
        for epoch in (3, 4)
        for spiffe_id in (WEB, DB)
    ]
    parts = [part for key in keys for part in (key[:16], key[16:48], key[48:])]
    assert len(set(parts)) == len(parts)


def test_a_master_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ticket_key(Masked(b"short"), 1, WEB)


def test_the_value_is_ordered_by_use_and_shows_no_key() -> None:
    masters = {number: Masked(bytes([number]) * 32) for number in (4, 5, 6)}
    value = ticket_keys(epochs(4, 5, 6), masters, WEB)
    assert value.kind is SecretKind.TICKETS
    assert [name for name, _ in value.fields] == ["0", "1", "2"]
    expected = [ticket_key(masters[number], number, WEB).reveal() for number in (5, 6, 4)]
    assert [key.reveal() for _, key in value.fields] == expected
    assert all(key.hex() not in repr(value) and str(key) not in repr(value) for key in expected)
    assert value.version == f"6-{int((EPOCH + 2 * EVERY).timestamp())}"


def test_first_there_are_two() -> None:
    turn = due((), EPOCH, EVERY)
    assert turn is not None
    assert (turn.make, turn.keep_from) == ((1, 2), 1)
    assert [epoch.number for epoch in order(epochs(1, 2))] == [1, 2]


def test_one_that_was_left_alone_gets_a_successor() -> None:
    turn = due(epochs(7), EPOCH, EVERY)
    assert turn is not None
    assert turn.make == (8,)


@given(pauses=st.lists(st.integers(0, 100), min_size=1, max_size=40))
def test_a_key_decrypts_everywhere_before_it_encrypts_and_one_turn_after(pauses: list[int]) -> None:
    """Whatever the ticks: an epoch is next, current, previous, gone; each at least for its time."""
    now = EPOCH
    standing: tuple[Epoch, ...] = ()
    encrypted: list[int] = []
    known_before: set[int] = set()
    for pause in pauses:
        now += pause * timedelta(hours=1)
        turn = due(standing, now, EVERY)
        if turn is None:
            continue
        made = tuple(Epoch(number, now) for number in turn.make)
        known_before = {epoch.number for epoch in standing}
        standing = tuple(one for one in (*standing, *made) if one.number >= turn.keep_from)
        assert len(standing) <= KEPT
        first, *others = order(standing)
        if known_before:
            assert first.number in known_before  # everybody had it when it began to encrypt
            assert encrypted[-1] in {one.number for one in others}  # what it encrypted can still be resumed
            assert now - first.created_at >= EVERY or first.number <= 2
        encrypted.append(first.number)
    assert encrypted == sorted(set(encrypted))

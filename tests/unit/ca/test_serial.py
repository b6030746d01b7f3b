from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.serial import SERIAL_BITS, parse_serial, random_serial, serial_hex


@given(st.binary(min_size=20, max_size=20))
def test_serials_are_positive_and_have_exactly_20_octets(noise: bytes) -> None:
    """RFC 5280 4.1.2.2."""
    serial = random_serial(lambda _: noise)
    assert serial.bit_length() == SERIAL_BITS
    assert len(serial_hex(serial)) == 40
    assert parse_serial(serial_hex(serial)) == serial


@given(st.binary(min_size=20, max_size=20), st.integers(0, 157))
def test_158_bits_of_the_noise_count(noise: bytes, bit: int) -> None:
    flipped = (int.from_bytes(noise, "big") ^ 1 << bit).to_bytes(20, "big")
    assert random_serial(lambda _: noise) != random_serial(lambda _: flipped)


def test_they_do_not_repeat() -> None:
    assert len({random_serial(os.urandom) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(("serial", "text"), [(1, "01"), (255, "ff"), (256, "0100"), (0, "00")])
def test_whole_octets(serial: int, text: str) -> None:
    assert serial_hex(serial) == text


def test_what_other_programs_print_is_read() -> None:
    assert parse_serial("0A:BC") == parse_serial("0abc") == parse_serial("0ABC") == 0x0ABC


@pytest.mark.parametrize("text", ["", "00", "-1", "xyz", "abc", "0x0a", "8" + "0" * 39, "01" * 21])
def test_what_is_no_serial_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_serial(text)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca import der
from ca.der_reader import DerReader, InvalidDer

INTEGERS = st.one_of(
    st.integers(0, 1 << 80), st.integers(0, 70).map(lambda bits: 1 << bits), st.sampled_from([0, 127, 128, 255, 256])
)


@given(values=st.lists(INTEGERS, max_size=5), noise=st.binary(max_size=300))
def test_what_was_written_is_read(values: list[int], noise: bytes) -> None:
    written = der.tlv(der.SEQUENCE, *map(der.integer, values), der.tlv(der.OCTET_STRING, noise))
    whole = DerReader(written)
    inside = whole.inside(der.SEQUENCE)
    whole.end()
    assert [inside.integer() for _ in values] == values
    assert inside.tag == der.OCTET_STRING
    assert inside.raw(der.OCTET_STRING) == der.tlv(der.OCTET_STRING, noise)
    assert inside.tag is None
    inside.end()


def test_negative_integers_are_read() -> None:
    assert DerReader(b"\x02\x01\xff").integer() == -1
    assert DerReader(b"\x02\x02\xff\x7f").integer() == -129


@pytest.mark.parametrize(
    ("what", "octets"),
    [
        ("nothing", b""),
        ("no length", b"\x30"),
        ("another tag", b"\x31\x00"),
        ("indefinite", b"\x30\x80\x00\x00"),
        ("cut off", b"\x30\x02\x00"),
        ("a length cut off", b"\x30\x82\x01"),
        ("a long length for a short one", b"\x30\x81\x01\x00"),
        ("a leading zero in the length", b"\x30\x82\x00\x81" + bytes(0x81)),
        ("four octets of length", b"\x30\x84\x01\x00\x00\x00"),
    ],
)
def test_what_is_not_der_is_refused(what: str, octets: bytes) -> None:
    with pytest.raises(InvalidDer):
        DerReader(octets).content(der.SEQUENCE)


def test_tags_in_the_long_form_are_refused() -> None:
    with pytest.raises(InvalidDer):
        DerReader(b"\x1f\x1f\x00").skip()


@pytest.mark.parametrize("octets", [b"\x02\x00", b"\x02\x02\x00\x01", b"\x02\x02\xff\x80"])
def test_an_integer_has_one_encoding(octets: bytes) -> None:
    with pytest.raises(InvalidDer):
        DerReader(octets).integer()


def test_what_is_left_over_and_what_is_missing_is_refused() -> None:
    reader = DerReader(b"\x02\x01\x05\x00")
    assert reader.integer() == 5
    with pytest.raises(InvalidDer):
        reader.end()
    empty = DerReader(b"")
    with pytest.raises(InvalidDer):
        empty.skip()


@given(st.binary(max_size=64))
def test_no_bytes_do_more_than_be_refused(octets: bytes) -> None:
    reader = DerReader(octets)
    try:
        while reader.tag is not None:
            reader.skip()
    except InvalidDer:
        return
    reader.end()

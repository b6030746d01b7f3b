"""The few forms of DER that we write, against the vectors of X.690 and against a parser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca import der

FIRST, LAST = datetime(1950, 1, 1), datetime(9999, 12, 31)  # noqa: DTZ001 - hypothesis wants bounds without a zone


@pytest.mark.parametrize(
    ("length", "octets"),
    [
        (0, "3000"),
        (0x7F, "307f"),
        (0x80, "308180"),
        (0xFF, "3081ff"),
        (0x100, "30820100"),
        (0xFFFF, "3082ffff"),
        (0x10000, "3083010000"),
        (0xFFFFFF, "3083ffffff"),
    ],
)
def test_lengths_take_as_few_octets_as_they_can(length: int, octets: str) -> None:
    """X.690 8.1.3 and 10.1."""
    assert der.header(der.SEQUENCE, length).hex() == octets


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="16777216 bytes"):
        der.header(der.SEQUENCE, 1 << 24)


def test_an_element_holds_all_its_content() -> None:
    assert der.tlv(der.OCTET_STRING) == b"\x04\x00"
    assert der.tlv(der.OCTET_STRING, b"ab", b"", b"c") == b"\x04\x03abc"
    assert der.tlv(der.SEQUENCE, bytes(200)) == b"\x30\x81\xc8" + bytes(200)


@pytest.mark.parametrize(
    ("value", "octets"),
    [(0, "020100"), (1, "020101"), (127, "02017f"), (128, "02020080"), (255, "020200ff"), (256, "02020100")],
)
def test_integers_have_a_clear_first_bit_and_no_octet_more(value: int, octets: str) -> None:
    """X.690 8.3.2."""
    assert der.integer(value).hex() == octets


@given(value=st.integers(0, 1 << 1100))
def test_integers_are_read_back(value: int) -> None:
    encoded = der.integer(value)
    size = value.bit_length() // 8 + 1
    assert encoded[-size:] == value.to_bytes(size, "big", signed=True)
    assert encoded[:-size] == der.header(der.INTEGER, size)


def test_negative_integers_are_refused() -> None:
    with pytest.raises(OverflowError):
        der.integer(-1)


@pytest.mark.parametrize(
    ("dotted", "octets"),
    [
        ("2.999.3", "0603883703"),  # the example of X.690 8.19.5
        ("1.2.840.113549", "06062a864886f70d"),
        ("2.5.29.17", "0603551d11"),
        ("0.0", "060100"),
        ("1.3.101.112", "06032b6570"),
    ],
)
def test_object_identifiers(dotted: str, octets: str) -> None:
    assert der.oid(dotted).hex() == octets


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(1950, 1, 1, tzinfo=UTC), b"\x17\x0d500101000000Z"),
        (datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x17\x0d991231235959Z"),
        (datetime(2000, 1, 1, tzinfo=UTC), b"\x17\x0d000101000000Z"),
        (datetime(2049, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), b"\x17\x0d491231235959Z"),
        (datetime(2050, 1, 1, tzinfo=UTC), b"\x18\x0f20500101000000Z"),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x18\x0f99991231235959Z"),
        # The zone decides on which side of the border a time lies.
        (datetime(2050, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))), b"\x17\x0d491231233000Z"),
        (datetime(2049, 12, 31, 23, 30, tzinfo=timezone(timedelta(hours=-1))), b"\x18\x0f20500101003000Z"),
    ],
)
def test_times_change_their_form_with_2050(moment: datetime, text: bytes) -> None:
    """RFC 5280 4.1.2.5."""
    assert der.time(moment) == text


@settings(max_examples=200)
@given(moment=st.datetimes(FIRST, LAST, timezones=st.just(UTC)))
def test_times_are_read_back(moment: datetime) -> None:
    encoded = der.time(moment)
    century = b"" if encoded[0] == der.GENERALIZED_TIME else b"19" if moment.year < 2000 else b"20"
    read = datetime.strptime((century + encoded[2:]).decode(), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    assert read == moment.replace(microsecond=0)


@pytest.mark.parametrize("moment", [datetime(1949, 12, 31, 23, 59, 59, tzinfo=UTC), FIRST])
def test_times_without_a_form_or_a_zone_are_refused(moment: datetime) -> None:
    with pytest.raises(ValueError, match=r"1950|zone"):
        der.time(moment)

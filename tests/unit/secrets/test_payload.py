from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.masked import Masked
from sds.secrets.errors import SecretMalformed
from sds.secrets.payload import decode_fields, encode_fields

_fields = st.dictionaries(st.text(max_size=8), st.binary(max_size=20), max_size=6)


def masked(fields: dict[str, bytes]) -> dict[str, Masked[bytes]]:
    return {name: Masked(value) for name, value in fields.items()}


@given(_fields)
def test_fields_come_back(fields: dict[str, bytes]) -> None:
    decoded = decode_fields(encode_fields(masked(fields)))
    assert {name: value.reveal() for name, value in decoded.items()} == fields


@given(_fields, _fields)
def test_different_fields_give_different_bytes(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    same = encode_fields(masked(one)).reveal() == encode_fields(masked(other)).reveal()
    assert same == (one == other)


@given(_fields, st.data())
def test_what_was_not_encoded_is_malformed(fields: dict[str, bytes], data: st.DataObject) -> None:
    raw = encode_fields(masked(fields)).reveal()
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    for bad in (cut, raw + b"\0", b"x" + raw):
        with pytest.raises(SecretMalformed):
            decode_fields(Masked(bad))


@given(st.binary(max_size=60))
def test_hostile_bytes_are_malformed_or_stand_for_themselves(raw: bytes) -> None:
    for given_bytes in (raw, b"sds1" + raw, b"sds1\0\0\0\1" + raw):
        try:
            fields = decode_fields(Masked(given_bytes))
        except SecretMalformed:
            continue
        assert encode_fields(fields).reveal() == given_bytes


def test_a_count_that_promises_more_than_there_is_costs_nothing() -> None:
    with pytest.raises(SecretMalformed):
        decode_fields(Masked(b"sds1\xff\xff\xff\xff"))
    with pytest.raises(SecretMalformed):
        decode_fields(Masked(b"sds1\0\0\0\1\xff\xff\xff\xffa"))

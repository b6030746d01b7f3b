from __future__ import annotations

import base64
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.masked import Masked
from sds.secrets.backend import Fetched
from sds.secrets.errors import SecretMalformed
from sds.secrets.judge import MAX_TICKET_KEYS, Limits, judge
from sds.secrets.secret import SecretKind, SecretValue
from tests.fakes.clock import EPOCH
from tests.fakes.pki import make

LIMITS = Limits()
CANARY = b"canary-7d1e"


def fetched(not_after: datetime | None = None, version: str = "1", /, **fields: bytes) -> Fetched:
    return Fetched(version, {name: Masked(value) for name, value in fields.items()}, not_after=not_after)


def named(fields: dict[str, bytes]) -> Fetched:
    return Fetched("1", {name: Masked(value) for name, value in fields.items()})


def opened(value: SecretValue) -> dict[str, bytes]:
    return {name: masked.reveal() for name, masked in value.fields}


def refused(kind: SecretKind, given: Fetched, limits: Limits = LIMITS) -> str:
    with pytest.raises(SecretMalformed) as caught:
        judge(kind, given, EPOCH, limits)
    assert caught.value.__cause__ is None
    text = repr(caught.value)
    assert CANARY.decode() not in text
    assert "\0" not in text
    return str(caught.value)


def test_a_generic_secret_is_its_only_field() -> None:
    for name in ("", "value", "anything at all"):
        value = judge(SecretKind.GENERIC, named({name: CANARY}), EPOCH, LIMITS)
        assert (opened(value), value.kind, value.version, value.not_after) == (
            {"": CANARY}, SecretKind.GENERIC, "1", None,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "no fields"),
        ({"": b""}, "the value is empty"),
        ({"": CANARY + b"\0"}, "NUL"),
        ({"a": CANARY, "b": b"x"}, "several fields"),
        ({"": b"x" * 65537}, "more than 65536 bytes"),
    ],
)
def test_what_no_generic_secret_is(fields: dict[str, bytes], reason: str) -> None:
    assert reason in refused(SecretKind.GENERIC, named(fields))


def test_a_map_keeps_its_names_in_order() -> None:
    value = judge(SecretKind.MAP, named({"b/c": b"2", "a.x_y-z": CANARY}), EPOCH, LIMITS)
    assert [name for name, _ in value.fields] == ["a.x_y-z", "b/c"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"a": b"1", "b": b""}, "field b is empty"),
        ({"a": b"\0"}, "field a has a NUL"),
        ({"": b"1"}, "name of field 1"),
        ({"a": b"1", CANARY.decode() + "\n": b"1"}, "name of field 2"),
        ({CANARY.decode() + " ": b"x" * 65537}, "field 1 has more than"),
        ({"x" * 129: b"1"}, "name of field 1"),
        ({f"f{number}": b"1" for number in range(65)}, "more than 64 fields"),
        ({f"f{number}": b"x" * 65000 for number in range(5)}, "more than 262144 bytes"),
    ],
)
def test_what_no_map_is(fields: dict[str, bytes], reason: str) -> None:
    assert reason in refused(SecretKind.MAP, named(fields))


def test_limits_are_inclusive() -> None:
    limits = Limits(max_value_bytes=4, max_total_bytes=10, max_fields=2)
    judge(SecretKind.MAP, named({"a": b"1234", "b": b"1234"}), EPOCH, limits)
    assert "more than 10 bytes" in refused(SecretKind.MAP, named({"a": b"1234", "bb": b"1234"}), limits)
    assert "field a has more than 4" in refused(SecretKind.MAP, named({"a": b"12345"}), limits)
    assert "more than 2 fields" in refused(SecretKind.MAP, named({"a": b"1", "b": b"1", "c": b"1"}), limits)


def test_an_expired_value_is_never_sent() -> None:
    later = EPOCH + timedelta(microseconds=1)
    assert judge(SecretKind.GENERIC, fetched(later, a=CANARY), EPOCH, LIMITS).not_after == later
    for past in (EPOCH, EPOCH - timedelta(days=1)):
        assert "expired" in refused(SecretKind.GENERIC, fetched(past, a=CANARY))


def test_a_version_has_a_name() -> None:
    for version in ("", "x" * 257):
        assert "version" in refused(SecretKind.GENERIC, fetched(None, version, a=CANARY))


def ticket(number: int) -> bytes:
    return bytes([number]) * 80


def test_ticket_keys_come_raw_or_in_base64() -> None:
    given = named({"1": base64.b64encode(ticket(1)) + b"\n", "0": ticket(0), "2": ticket(2)})
    value = judge(SecretKind.TICKETS, given, EPOCH, LIMITS)
    assert [(name, key.reveal()) for name, key in value.fields] == [
        ("0", ticket(0)), ("1", ticket(1)), ("2", ticket(2)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"0": ticket(0)[:79]}, "session-ticket key 0 is not 80 bytes"),
        ({"0": base64.b64encode(b"x" * 79)}, "session-ticket key 0 is not 80 bytes"),
        ({"0": base64.urlsafe_b64encode(b"\xff" * 80)}, "session-ticket key 0 is not 80 bytes"),
        ({"0": b"\xff" * 108}, "session-ticket key 0 is not 80 bytes"),
        ({"1": ticket(1)}, "called 0, 1, 2"),
        ({"0": ticket(0), "2": ticket(2)}, "called 0, 1, 2"),
        ({"00": ticket(0)}, "called 0, 1, 2"),
        ({"0": ticket(0), "1": base64.b64encode(ticket(0))}, "twice"),
        ({str(number): ticket(number) for number in range(MAX_TICKET_KEYS + 1)}, "more than 16"),
    ],
)
def test_what_no_ticket_keys_are(fields: dict[str, bytes], reason: str) -> None:
    assert reason in refused(SecretKind.TICKETS, named(fields))


# Hostile bytes: whatever a source holds, the answer is a value or SecretMalformed.

_PAIR = make("gw", ca=False)
_PEM = [
    _PAIR.pem,
    _PAIR.key_pem,
    b"-----BEGIN CERTIFICATE-----",
    b"-----END CERTIFICATE-----",
    b"-----BEGIN PRIVATE KEY-----\n",
    b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n",
    base64.b64encode(_PAIR.der),
    b"MIIB\n",
    b"\n",
]
_pieces = st.lists(st.one_of(st.sampled_from(_PEM), st.binary(max_size=40)), max_size=6).map(b"".join)
_names = st.one_of(st.sampled_from(["", "chain", "private_key", "ca", "0", "1", "value"]), st.text(max_size=10))


@settings(max_examples=400)
@given(st.sampled_from(list(SecretKind)), st.dictionaries(_names, _pieces, max_size=4))
def test_nothing_else_than_malformed_comes_of_hostile_fields(kind: SecretKind, fields: dict[str, bytes]) -> None:
    try:
        value = judge(kind, named(fields), EPOCH, LIMITS)
    except SecretMalformed as error:
        assert error.__cause__ is None
        return
    assert value.fields
    assert all(value.reveal() for _, value in value.fields)


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_certificate_or_key_is_malformed_or_harmless(data: st.DataObject) -> None:
    """Some byte of the DER changed: never an error of a parser; and what still passes, fits together."""
    which = data.draw(st.sampled_from(["chain", "private_key"]))
    fields = {"chain": _PAIR.pem, "private_key": _PAIR.key_pem}
    raw = bytearray(base64.b64decode(b"".join(fields[which].splitlines()[1:-1])))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(1, len(raw)))]
    first, *_, last = fields[which].splitlines()
    fields[which] = b"\n".join((first, base64.b64encode(raw), last))
    try:
        value = judge(SecretKind.CERTIFICATE, named(fields), EPOCH, LIMITS)
    except SecretMalformed as error:
        assert error.__cause__ is None
        return
    again = judge(SecretKind.CERTIFICATE, named(opened(value)), EPOCH, LIMITS)
    assert opened(again) == opened(value)

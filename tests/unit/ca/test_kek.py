"""Wrapped keys open with their key and their label, and with nothing else."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.errors import InvalidKeyRing, KeyUnwrapFailed
from ca.kek import KEK_BYTES, MAX_KEYS, NONCE_BYTES, DataKeyLabel, Kek, KeyLabel, KeyRing, Wrapped, parse_key_ring
from ca.keys import KeyType
from ca.masked import Masked

PLAIN = Masked(b"canary-pkcs8")
LABEL = KeyLabel("0a", "example.org", "x509", KeyType.ECDSA_P256)
NONCE = bytes(NONCE_BYTES)


def kek(seed: int) -> Kek:
    return Kek.of(Masked(bytes([seed]) * KEK_BYTES))


RING = KeyRing(kek(1))
WRAPPED = RING.wrap(LABEL, PLAIN, NONCE)


def test_what_was_wrapped_opens() -> None:
    assert RING.unwrap(WRAPPED).reveal() == PLAIN.reveal()
    assert WRAPPED.kek_id == RING.current.id
    assert PLAIN.reveal() not in WRAPPED.ciphertext


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(KeyUnwrapFailed, match="the key file lacks"):
        KeyRing(kek(2)).unwrap(WRAPPED)
    claimed = replace(WRAPPED, kek_id=kek(2).id)
    with pytest.raises(KeyUnwrapFailed, match="does not open"):
        KeyRing(kek(2)).unwrap(claimed)


@pytest.mark.parametrize(
    "label",
    [
        replace(LABEL, key_id="0b"),
        replace(LABEL, trust_domain="example.com"),
        replace(LABEL, purpose="jwt"),
        replace(LABEL, key_type=KeyType.ED25519),
        KeyLabel("0aexample.org", "", "x509", KeyType.ECDSA_P256),
        KeyLabel("0", "aexample.org", "x509", KeyType.ECDSA_P256),
    ],
    ids=repr,
)
def test_another_label_does_not_open_it(label: KeyLabel) -> None:
    with pytest.raises(KeyUnwrapFailed):
        RING.unwrap(replace(WRAPPED, label=label))


def test_a_data_key_is_no_private_key() -> None:
    label = DataKeyLabel("s1", "example.org", "secret")
    wrapped = RING.wrap(label, Masked(bytes(32)), NONCE)
    assert RING.unwrap(wrapped).reveal() == bytes(32)
    others = (replace(label, key_id="s2"), replace(label, trust_domain="o"), replace(label, purpose="tickets"))
    for other in others:
        with pytest.raises(KeyUnwrapFailed, match="key s"):
            RING.unwrap(replace(wrapped, label=other))
    with pytest.raises(KeyUnwrapFailed):
        RING.unwrap(Wrapped(LABEL, wrapped.kek_id, NONCE, wrapped.ciphertext))
    again = RING.rotated(kek(2)).rewrap(wrapped, NONCE)
    assert KeyRing(kek(2)).unwrap(again).reveal() == bytes(32)


@given(st.tuples(*[st.text(max_size=6)] * 3), st.tuples(*[st.text(max_size=6)] * 3))
def test_no_two_labels_encode_alike(one: tuple[str, str, str], two: tuple[str, str, str]) -> None:
    encoded = [KeyLabel(*parts, KeyType.RSA_2048).encode() for parts in (one, two)]
    assert (encoded[0] == encoded[1]) == (one == two)


def test_every_altered_byte_is_noticed() -> None:
    for at in range(len(WRAPPED.ciphertext)):
        altered = bytearray(WRAPPED.ciphertext)
        altered[at] ^= 1
        with pytest.raises(KeyUnwrapFailed):
            RING.unwrap(replace(WRAPPED, ciphertext=bytes(altered)))
    for at in range(NONCE_BYTES):
        nonce = bytearray(NONCE)
        nonce[at] ^= 1
        with pytest.raises(KeyUnwrapFailed):
            RING.unwrap(replace(WRAPPED, nonce=bytes(nonce)))


@settings(max_examples=50)
@given(st.binary(max_size=64), st.binary(max_size=20))
def test_noise_does_not_open(ciphertext: bytes, nonce: bytes) -> None:
    with pytest.raises(KeyUnwrapFailed):
        RING.unwrap(Wrapped(LABEL, RING.current.id, nonce, ciphertext))


def test_failures_show_nothing() -> None:
    with pytest.raises(KeyUnwrapFailed) as caught:
        RING.unwrap(replace(WRAPPED, ciphertext=b"x"))
    assert "canary" not in f"{caught.value!r}{caught.value.__cause__!r}"


def test_a_nonce_has_its_size() -> None:
    for size in (0, 8, 13):
        with pytest.raises(ValueError, match="nonce"):
            RING.wrap(LABEL, PLAIN, bytes(size))


def test_rotation() -> None:
    """Old keys open while in the ring, are wrapped anew by the new key, and then the old key is not needed."""
    rotated = RING.rotated(kek(2))
    assert rotated.unwrap(WRAPPED).reveal() == PLAIN.reveal()
    anew = rotated.rewrap(WRAPPED, b"1" * NONCE_BYTES)
    assert anew.kek_id == kek(2).id != WRAPPED.kek_id
    assert anew.label == WRAPPED.label
    assert rotated.rewrap(anew, b"2" * NONCE_BYTES) is anew
    alone = rotated.retired()
    assert alone.unwrap(anew).reveal() == PLAIN.reveal()
    with pytest.raises(KeyUnwrapFailed):
        alone.unwrap(WRAPPED)
    twice = rotated.rotated(kek(3))
    assert [k.id for k in (twice.current, *twice.previous)] == [kek(n).id for n in (3, 2, 1)]
    assert twice.unwrap(WRAPPED).reveal() == PLAIN.reveal()


def test_a_file_survives() -> None:
    ring = RING.rotated(kek(2)).rotated(kek(3))
    text = ring.encode()
    assert text.reveal().startswith("# sds key-encryption keys")
    back = parse_key_ring(text)
    assert [k.id for k in (back.current, *back.previous)] == [k.id for k in (ring.current, *ring.previous)]
    assert back.unwrap(WRAPPED).reveal() == PLAIN.reveal()


def test_a_file_written_by_hand() -> None:
    line = kek(1).encode().reveal()
    assert parse_key_ring(Masked(f"\n# a comment\n\n{line}  \n")).current.id == kek(1).id


def line(key: bytes = b"\x01" * KEK_BYTES, identifier: str | None = None) -> str:
    return f"{identifier or kek(1).id} {base64.b64encode(key).decode()}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "# only a comment",
        "garbage",
        "garbage garbage",
        line(b"\x01" * 31),
        line(b"\x01" * 33),
        line(identifier="00000000"),
        line() + " more",
        line()[:-4],
        f"{kek(1).id}  {base64.b64encode(bytes([1]) * 32).decode()[:-1]}*",
        f"{line()}\n{line()}",
        line() + "\n" + "x" * 5000,
        "\n".join(kek(n).encode().reveal() for n in range(MAX_KEYS + 1)),
    ],
)
def test_what_is_no_key_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidKeyRing) as caught:
        parse_key_ring(Masked(text))
    assert base64.b64encode(b"\x01" * 31).decode()[:20] not in f"{caught.value!r}{caught.value.__context__!r}"


def test_the_id_is_no_secret_and_fixed() -> None:
    """The first 8 hex digits of SHA-256 of 32 times 01."""
    assert kek(1).id == "72cd6e84"

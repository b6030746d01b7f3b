from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle
from ca.keys import from_pkcs8_pem, to_pkcs8_der
from ca.masked import Masked
from sds.agent.errors import IdentityUnusable
from sds.agent.identity import AgentIdentity, decode, encode
from tests.fakes.clock import EPOCH
from tests.unit.agent.identities import make_identity

IDENTITY = make_identity()
CONTENT = encode(IDENTITY).reveal()
OTHER = make_identity()


def test_what_is_written_is_read_back() -> None:
    again = decode(Masked(CONTENT))
    assert again.svid == IDENTITY.svid
    assert again.bundle == IDENTITY.bundle
    assert again.private_key_pem.reveal() == IDENTITY.private_key_pem.reveal()


def test_the_key_shows_nowhere() -> None:
    key = IDENTITY.private_key_pem.reveal().decode().splitlines()[1]
    assert key not in repr(IDENTITY)
    assert key not in str(encode(IDENTITY))


def test_expiry() -> None:
    assert not IDENTITY.expired(EPOCH)
    assert IDENTITY.expired(IDENTITY.svid.not_after)
    assert not IDENTITY.expired(IDENTITY.svid.not_after - timedelta(seconds=1))


def mixed(**parts: object) -> AgentIdentity:
    return AgentIdentity(
        svid=parts.get("svid", IDENTITY.svid),  # type: ignore[arg-type]
        private_key_pem=parts.get("key", IDENTITY.private_key_pem),  # type: ignore[arg-type]
        bundle=parts.get("bundle", IDENTITY.bundle),  # type: ignore[arg-type]
    )


def test_parts_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(IdentityUnusable, match="not that of the certificate"):
        mixed(key=OTHER.private_key_pem)
    with pytest.raises(IdentityUnusable, match="cannot be read"):
        mixed(key=Masked(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
    with pytest.raises(IdentityUnusable, match="different trust domains"):
        mixed(bundle=TrustBundle(TrustDomain("other.org"), IDENTITY.bundle.x509_authorities))
    with pytest.raises(IdentityUnusable, match="no authority"):
        mixed(bundle=TrustBundle(IDENTITY.bundle.trust_domain, ()))


@given(st.integers(0, len(CONTENT)))
def test_a_file_that_was_cut_is_refused(length: int) -> None:
    if length >= len(CONTENT) - 1:  # the last byte is a line end
        return
    with pytest.raises(IdentityUnusable) as refused:
        decode(Masked(CONTENT[:length]))
    assert "PRIVATE KEY" not in str(refused.value)


def test_a_key_of_an_unknown_kind_is_refused() -> None:
    """An object identifier that the library does not know raises no ValueError there."""
    der = bytearray(to_pkcs8_der(from_pkcs8_pem(IDENTITY.private_key_pem)).reveal())
    curve = der.find(bytes.fromhex("2a8648ce3d030107"))
    der[curve + 7] = 0x7F
    pem = b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(bytes(der)) + b"-----END PRIVATE KEY-----\n"
    with pytest.raises(IdentityUnusable, match="cannot be read"):
        mixed(key=Masked(pem))


@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 255))
def test_a_flipped_byte_never_crashes(position: int, value: int) -> None:
    damaged = bytearray(CONTENT)
    damaged[position] = value
    try:
        decode(Masked(bytes(damaged)))
    except IdentityUnusable as refused:
        assert refused.__cause__ is None or not isinstance(refused.__cause__, ValueError), "the cause may quote the key"


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{}", b'{"format": 2}', b"\xff\xfe", b'{"format": 1, "bundle": 7}', b"[" * 100_000],
)
def test_rubbish_is_refused(content: bytes) -> None:
    with pytest.raises(IdentityUnusable):
        decode(Masked(content))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("certificate_chain",), []),
        (("certificate_chain",), ["%%%"]),
        (("certificate_chain",), 7),
        (("private_key",), "nonsense \u00e9"),
        (("private_key",), None),
        (("bundle", "trust_domain"), "UPPER"),
        (("bundle", "sequence"), -1),
        (("bundle", "sequence"), "x"),
        (("bundle", "refresh_hint_seconds"), 1e300),
        (("bundle", "x509_authorities"), ["AAAA"]),
    ],
)
def test_a_wrong_value_is_refused(path: tuple[str, ...], value: object) -> None:
    document = json.loads(CONTENT)
    table = document
    for name in path[:-1]:
        table = table[name]
    table[path[-1]] = value
    with pytest.raises(IdentityUnusable):
        decode(Masked(json.dumps(document).encode()))

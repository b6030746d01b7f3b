from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import InvalidSpiffeId
from attestation.spiffe_id import SpiffeId, TrustDomain

VECTORS = Path(__file__).parent / "vectors"


def vectors(name: str) -> list[str]:
    texts = []
    for line in (VECTORS / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            _, _, quoted = line.partition("\t")
            texts.append(re.sub(r"\{(.)\*(\d+)\}", lambda m: m[1] * int(m[2]), json.loads(quoted)))
    assert len(texts) > 15
    return texts


@pytest.mark.parametrize("text", vectors("spiffe_ids_valid.txt"), ids=lambda t: repr(t)[:60])
def test_valid(text: str) -> None:
    parsed = SpiffeId.parse(text)
    assert str(parsed) == text
    assert SpiffeId.parse(str(parsed)) == parsed


@pytest.mark.parametrize("text", vectors("spiffe_ids_invalid.txt"), ids=lambda t: repr(t)[:60])
def test_invalid(text: str) -> None:
    with pytest.raises(InvalidSpiffeId) as caught:
        SpiffeId.parse(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", vectors("spiffe_ids_invalid.txt"), ids=lambda t: repr(t)[:60])
def test_no_bad_trust_domain_gets_in_by_another_door(text: str) -> None:
    host, _, path = text.removeprefix("spiffe://").partition("/")
    try:
        domain = TrustDomain(host)
    except InvalidSpiffeId:
        return
    if path:
        try:
            assert str(SpiffeId(domain, f"/{path}")) == f"spiffe://{text.removeprefix('spiffe://')}"
        except InvalidSpiffeId:
            return


@given(st.text(alphabet="spife:/.%?#@ aZ0_-\n\u00e4", max_size=40))
def test_what_is_accepted_is_written_back_unchanged(text: str) -> None:
    for candidate in (text, f"spiffe://{text}", f"spiffe://td/{text}"):
        try:
            parsed = SpiffeId.parse(candidate)
        except InvalidSpiffeId:
            continue
        assert str(parsed) == candidate
        assert re.fullmatch(r"spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)*", candidate)
        assert not {".", "..", ""} & set(parsed.path.split("/")[1:])


def test_trust_domains() -> None:
    domain = TrustDomain.parse("spiffe://example.org")
    assert domain == TrustDomain.parse("example.org")
    assert str(domain.id) == "spiffe://example.org"
    assert SpiffeId.parse("spiffe://example.org/a").member_of(domain)
    assert not SpiffeId.parse("spiffe://example.org.evil/a").member_of(domain)
    for bad in ("", "spiffe://example.org/", "Example.org", "a:1", "spiffe://spiffe://a", "a" * 256):
        with pytest.raises(InvalidSpiffeId):
            TrustDomain.parse(bad)


@pytest.mark.parametrize(
    ("path", "prefix", "expected"),
    [
        ("/a", "/a", True),
        ("/a/b", "/a", True),
        ("/a/b", "/a/", True),
        ("/ab", "/a", False),
        ("/a", "/a/b", False),
        ("/a", "", True),
        ("", "/a", False),
    ],
)
def test_below_counts_whole_segments(path: str, prefix: str, expected: bool) -> None:
    assert SpiffeId(TrustDomain("td"), path).below(prefix) is expected

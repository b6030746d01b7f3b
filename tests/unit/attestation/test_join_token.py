from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from attestation.attestor import Evidence
from attestation.catalog import NODE_ATTESTORS, NodeAttestors, NodeParts, node_attestor
from attestation.errors import AttestationRefused
from attestation.node.join_token import (
    PREFIX,
    REFUSAL,
    JoinToken,
    JoinTokenAttestor,
    encode_token,
    generated_agent_id,
    hash_token,
)
from attestation.rules import check_agent_id
from attestation.spiffe_id import SpiffeId, TrustDomain
from tests.fakes.clock import EPOCH

TD = TrustDomain("example.org")
AGENT = SpiffeId(TD, "/sds/agent/x")
TOKEN = encode_token(bytes(range(32)))


@dataclass
class FakeTokenStore:
    """Keeps hashes in a dict; consuming removes."""

    tokens: dict[str, JoinToken] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def consume(self, token_hash: str, *, now: datetime, address: str) -> JoinToken:
        self.asked.append((token_hash, address))
        await asyncio.sleep(0)
        token = self.tokens.get(token_hash)
        if token is None or token.expires_at <= now:
            raise AttestationRefused(REFUSAL)
        del self.tokens[token_hash]
        return token


@pytest.fixture
def store() -> FakeTokenStore:
    return FakeTokenStore({hash_token(TOKEN): JoinToken(AGENT, EPOCH + timedelta(minutes=10))})


async def attest(store: FakeTokenStore, payload: bytes, now: datetime = EPOCH) -> SpiffeId:
    attestor = JoinTokenAttestor(store)
    node = await attestor.attest(Evidence("join_token", payload), now=now, address="192.0.2.1")
    assert [s.type for s in node.selectors] == ["join_token"]
    assert TOKEN not in str(node)
    return node.agent_id


@pytest.mark.parametrize("payload", [TOKEN.encode(), TOKEN.encode() + b"\n", b"  " + TOKEN.encode() + b"\r\n"])
async def test_a_good_token_works_once(store: FakeTokenStore, payload: bytes) -> None:
    assert await attest(store, payload) == AGENT
    with pytest.raises(AttestationRefused, match="used or expired"):
        await attest(store, payload)
    assert store.asked == [(hash_token(TOKEN), "192.0.2.1")] * 2


async def test_of_two_at_once_one_wins(store: FakeTokenStore) -> None:
    results = await asyncio.gather(*(attest(store, TOKEN.encode()) for _ in range(20)), return_exceptions=True)
    assert sorted(type(r).__name__ for r in results) == ["AttestationRefused"] * 19 + ["SpiffeId"]


async def test_expired(store: FakeTokenStore) -> None:
    with pytest.raises(AttestationRefused, match="expired"):
        await attest(store, TOKEN.encode(), EPOCH + timedelta(minutes=10))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0",
        b"\xff" * 50,
        TOKEN.encode()[:-1],
        TOKEN.encode() + b"A",
        TOKEN.encode() + b"\nx",
        TOKEN.upper().encode(),
        PREFIX.encode() + b"'; drop table tokens; --".ljust(43, b"-"),
        TOKEN.encode("utf-16"),
        TOKEN.encode() + b" " * 300,
        b"A" * 10_000_000,
    ],
)
async def test_what_has_no_tokens_form_never_reaches_the_store(store: FakeTokenStore, payload: bytes) -> None:
    with pytest.raises(AttestationRefused) as caught:
        await attest(store, payload)
    assert str(caught.value) == REFUSAL
    assert store.asked == []


def test_making_tokens() -> None:
    assert len(TOKEN) == len(PREFIX) + 43
    assert len(hash_token(TOKEN)) == 64
    assert hash_token(TOKEN) != hash_token(encode_token(bytes(32)))
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError, match="32"):
            encode_token(wrong)


def test_generated_ids_may_name_agents() -> None:
    generated = generated_agent_id(TD, bytes(16))
    assert str(generated) == "spiffe://example.org/sds/agent/join_token/" + "00" * 16
    check_agent_id(generated, TD)


async def test_evidence_finds_its_attestor(store: FakeTokenStore) -> None:
    attestor = node_attestor(NodeParts(join_tokens=store))
    node = await attestor.attest(Evidence("join_token", TOKEN.encode()), now=EPOCH, address="a")
    assert node.agent_id == AGENT
    for unknown in ("", "JOIN_TOKEN", "x" * 100_000, "tpm_devid\n"):
        with pytest.raises(AttestationRefused) as caught:
            await attestor.attest(Evidence(unknown, TOKEN.encode()), now=EPOCH, address="a")
        assert str(caught.value).endswith("it knows: join_token")
    with pytest.raises(AttestationRefused, match="none"):
        await NodeAttestors({}).attest(Evidence("join_token"), now=EPOCH, address="a")
    assert set(NODE_ATTESTORS) == {"join_token"}


async def test_an_attestor_does_not_take_foreign_evidence(store: FakeTokenStore) -> None:
    with pytest.raises(AttestationRefused):
        await JoinTokenAttestor(store).attest(Evidence("other", TOKEN.encode()), now=EPOCH, address="a")
    assert store.asked == []


def test_evidence_does_not_show_its_payload() -> None:
    evidence = Evidence("join_token", TOKEN.encode())
    assert TOKEN not in repr(evidence)
    assert TOKEN not in str(evidence)
    assert TOKEN not in f"{evidence}"

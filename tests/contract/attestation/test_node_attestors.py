"""What every node attestor must do, whatever it verifies. A new one joins `PLUGINS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.attestor import Evidence, NodeAttestor
from attestation.catalog import NODE_ATTESTORS, NodeParts
from attestation.errors import AttestationRefused
from attestation.node.join_token import REFUSAL, JoinToken, encode_token, hash_token
from attestation.rules import check_agent_id
from attestation.spiffe_id import SpiffeId, TrustDomain
from tests.fakes.clock import EPOCH

TD = TrustDomain("example.org")


@dataclass
class Tokens:
    """Join tokens in a dict; consuming removes."""

    held: dict[str, JoinToken] = field(default_factory=dict)

    async def consume(self, token_hash: str, *, now: datetime, address: str) -> JoinToken:
        token = self.held.pop(token_hash, None)
        if token is None or token.expires_at <= now:
            raise AttestationRefused(REFUSAL)
        return token


@dataclass(frozen=True)
class Plugin:
    """An attestor and evidence that it accepts; `secret` is what no message may repeat."""

    attestor: NodeAttestor
    evidence: Evidence
    secret: str


def join_token() -> Plugin:
    token = encode_token(bytes(range(32)))
    agent = SpiffeId(TD, "/sds/agent/x")
    tokens = Tokens({hash_token(token): JoinToken(agent, EPOCH + timedelta(minutes=1))})
    attestor = NODE_ATTESTORS["join_token"](NodeParts(join_tokens=tokens))
    return Plugin(attestor, Evidence("join_token", token.encode()), token)


PLUGINS: dict[str, Callable[[], Plugin]] = {"join_token": join_token}


def test_every_attestor_of_the_catalogue_is_held_to_this() -> None:
    assert set(PLUGINS) == set(NODE_ATTESTORS)


@pytest.fixture(params=PLUGINS)
def plugin(request: pytest.FixtureRequest) -> Plugin:
    return PLUGINS[request.param]()


async def test_good_evidence_names_an_agent_and_facts_of_its_own_type(plugin: Plugin) -> None:
    node = await plugin.attestor.attest(plugin.evidence, now=EPOCH, address="192.0.2.1")
    check_agent_id(node.agent_id, TD)
    assert {selector.type for selector in node.selectors} <= {plugin.evidence.type}
    assert plugin.secret not in repr(node)


async def test_evidence_of_another_type_is_refused(plugin: Plugin) -> None:
    with pytest.raises(AttestationRefused):
        await plugin.attestor.attest(Evidence("other", plugin.evidence.unverified_payload), now=EPOCH, address="a")


@pytest.mark.parametrize("name", PLUGINS)
@settings(max_examples=100)
@given(payload=st.binary(max_size=400), cut=st.integers(0, 100))
async def test_hostile_evidence_is_refused_and_not_repeated(name: str, payload: bytes, cut: int) -> None:
    plugin = PLUGINS[name]()
    good = plugin.evidence.unverified_payload
    for hostile in (payload, good[:cut] + payload + good[cut + 1 :], good + b"\0" + payload):
        if hostile.strip() == good:
            continue
        with pytest.raises(AttestationRefused) as caught:
            await plugin.attestor.attest(Evidence(plugin.evidence.type, hostile), now=EPOCH, address="a")
        assert len(str(caught.value)) < 300
        assert plugin.secret not in str(caught.value)


async def test_huge_evidence_is_refused_at_once(plugin: Plugin) -> None:
    huge = Evidence(plugin.evidence.type, b"A" * 50_000_000)
    with pytest.raises(AttestationRefused):
        await plugin.attestor.attest(huge, now=EPOCH, address="a")

"""Generations of authorities through the node API: what agents get is verifiable by what they hold, at every step."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc

from ca.bundle import TrustBundle
from ca.jwt_verify import validate
from ca.keys import KeyType, generate
from ca.svid import X509Svid, parse_svid
from ca.verify import verify_svid
from sds._pb.sds.node.v1 import node_pb2
from sds.agent import convert
from tests.contract.node.harness import DEADLINE, TD, Identity, Node, csr, next_message, running
from tests.contract.node.test_report import report

GENERATIONS = 3


@dataclass
class Watching:
    """An agent that follows its stream."""

    node: Node
    identity: Identity
    stream: Any
    bundle: TrustBundle | None = None
    reports: int = 0
    leaves: list[X509Svid] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    async def until(self, sequence: int) -> None:
        """Follow until the bundle is that new."""
        while self.bundle is None or self.bundle.sequence < sequence:
            message = await next_message(self.stream)
            if message.HasField("bundle"):
                self.bundle = convert.bundle(message.bundle, TD)
                self.node.roots = self.bundle.pem()

    async def acknowledge(self) -> None:
        assert self.bundle is not None
        self.reports += 1
        await report(self.node, self.identity, self.reports, bundle_sequence=self.bundle.sequence)

    async def issue(self, entry_id: str) -> X509Svid:
        item = node_pb2.SignItem(entry_id=entry_id, csr=csr(generate(KeyType.ECDSA_P256)))
        request = node_pb2.SignX509SvidsRequest(items=[item])
        (result,) = (await self.node.node(self.identity).SignX509Svids(request, timeout=DEADLINE)).results
        assert result.HasField("svid"), result.error
        self.leaves.append(parse_svid(tuple(result.svid.certificate_chain)))
        return self.leaves[-1]

    async def token(self, entry_id: str) -> str:
        item = node_pb2.JwtItem(entry_id=entry_id, audience=["test"])
        request = node_pb2.SignJwtSvidsRequest(items=[item])
        (result,) = (await self.node.node(self.identity).SignJwtSvids(request, timeout=DEADLINE)).results
        assert result.HasField("svid"), result.error
        self.tokens.append(result.svid.token)
        return self.tokens[-1]

    def verify_all(self) -> None:
        """Everything that was ever issued here verifies by the bundle that this agent has now."""
        assert self.bundle is not None
        now = self.node.clock.now()
        for leaf in self.leaves:
            verify_svid(leaf, self.bundle, now)
        for token in self.tokens:
            validate(token, {TD: self.bundle}, "test", now, timedelta(0))


async def watching(node: Node) -> Watching:
    identity = await node.attest()
    stream = node.node(identity).WatchAuthorized(node_pb2.WatchAuthorizedRequest())
    made = Watching(node, identity, stream)
    await made.until(1)
    return made


async def active(node: Node, kind: str) -> dict[str, Any]:
    page = await node.api("GET", f"/v1/authorities?kind={kind}")
    (one,) = [one for one in page["authorities"] if one["state"] == "active"]
    return dict(one)


async def test_generations_of_certificates_wait_for_the_agent_and_verify_at_every_step() -> None:
    async with running(rotation__interval="100ms") as node:
        agent = await watching(node)
        entry = (await node.entry())["id"]
        await agent.issue(entry)
        signers = {(await active(node, "x509"))["id"]}
        for _ in range(GENERATIONS):
            following = await node.api("POST", "/v1/authorities:prepare", {"kind": "x509"})
            path = f"/v1/authorities/{following['id']}:activate"
            refused = await node.admin.post(path)
            assert refused.status_code == 409
            assert str(agent.identity.svid.spiffe_id) in refused.text
            await agent.until(following["published_sequence"])
            agent.verify_all()  # what the old one issued
            assert (await node.admin.post(path)).status_code == 409  # the agent has it, and has not said so
            await agent.acknowledge()
            await node.api("POST", path)
            leaf = await agent.issue(entry)
            assert leaf.authority_id == following["id"]
            agent.verify_all()
            signers.add(following["id"])
        assert len(signers) == GENERATIONS + 1
        assert signers == {leaf.authority_id for leaf in agent.leaves}
        events = [e for e in await node.events("authority.activate") if e["actor"]["kind"] == "admin"]
        activations = [e for e in events if e["outcome"] == "success"]
        assert [(e["details"]["forced"], e["details"]["gate"]["acked"]) for e in activations] == [
            (False, 1)
        ] * GENERATIONS


async def test_generations_of_tokens_wait_for_those_who_fetch_keys_and_verify_at_every_step() -> None:
    async with running(rotation__interval="100ms", rotation__jwt_wait="1s") as node:
        agent = await watching(node)
        entry = (await node.entry())["id"]
        await agent.until(2)
        await agent.token(entry)
        for _ in range(GENERATIONS):
            following = await node.api("POST", "/v1/authorities:prepare", {"kind": "jwt"})
            path = f"/v1/authorities/{following['id']}:activate"
            assert (await node.admin.post(path)).status_code == 409
            await agent.until(following["published_sequence"])
            agent.verify_all()
            node.clock.offset += timedelta(seconds=1)
            await node.api("POST", path)
            await agent.token(entry)
            agent.verify_all()
        assert len({token.split(".")[0] for token in agent.tokens}) == GENERATIONS + 1


async def test_the_servers_own_certificate_and_renewed_agents_move_with_the_authority() -> None:
    async with running(rotation__interval="100ms") as node:
        agent = await watching(node)
        following = await node.api("POST", "/v1/authorities:prepare", {"kind": "x509"})
        await agent.until(following["published_sequence"])
        await agent.acknowledge()
        await node.api("POST", f"/v1/authorities/{following['id']}:activate")
        assert agent.bundle is not None
        key = generate(KeyType.ECDSA_P256)
        renewed = await node.node(agent.identity).Renew(node_pb2.RenewRequest(csr=csr(key)), timeout=DEADLINE)
        fresh = Identity(key, parse_svid(tuple(renewed.svid.certificate_chain)))
        verify_svid(fresh.svid, agent.bundle, node.clock.now())
        # Who trusts the new authority alone reaches the server with the new certificate alone.
        only_new = TrustBundle(TD, (agent.bundle.x509_authorities[-1],))
        verify_svid(fresh.svid, only_new, node.clock.now())
        node.roots = only_new.pem()
        answer = await node.node(fresh).Renew(node_pb2.RenewRequest(csr=csr()), timeout=DEADLINE)
        assert answer.svid.certificate_chain


async def test_what_is_tainted_signs_nothing_and_the_next_one_takes_over_when_the_agent_has_it() -> None:
    async with running(rotation__interval="100ms") as node:
        agent = await watching(node)
        entry = (await node.entry())["id"]
        await agent.issue(entry)
        first = await active(node, "x509")
        await node.api("POST", f"/v1/authorities/{first['id']}:taint")
        item = node_pb2.SignItem(entry_id=entry, csr=csr())
        request = node_pb2.SignX509SvidsRequest(items=[item])
        (result,) = (await node.node(agent.identity).SignX509Svids(request, timeout=DEADLINE)).results
        assert result.error.code == node_pb2.SignError.CODE_UNAVAILABLE
        assert (await node.admin.get("/ready")).status_code == 503
        page = await node.api("GET", "/v1/authorities?kind=x509")
        (following,) = [one for one in page["authorities"] if one["state"] == "prepared"]
        await agent.until(following["published_sequence"])
        assert agent.bundle is not None
        assert agent.bundle.tainted == {first["id"]}
        agent.verify_all()  # tainted is not revoked
        await agent.acknowledge()
        while (await active(node, "x509"))["id"] != following["id"]:
            pass  # by itself, at one of the next ticks
        await agent.issue(entry)
        agent.verify_all()
        assert await node.metric("sds_server_rotation_steps_total", step="taint", outcome="success") == 1


async def test_a_revoked_authority_takes_all_that_it_issued_with_it() -> None:
    async with running(rotation__interval="100ms") as node:
        agent = await watching(node)
        entry = (await node.entry())["id"]
        old = await agent.issue(entry)
        first = await active(node, "x509")
        refused = await node.admin.post(f"/v1/authorities/{first['id']}:revoke")
        assert refused.status_code == 409
        await node.api("POST", f"/v1/authorities/{first['id']}:revoke", {"force": True})
        second = await active(node, "x509")
        await agent.until(second["published_sequence"] + 1)
        assert agent.bundle is not None
        assert len(agent.bundle.x509_authorities) == 1
        agent.leaves.remove(old)
        status = await node.node(agent.identity).Renew(node_pb2.RenewRequest(csr=csr()), timeout=DEADLINE).code()
        assert status is not grpc.StatusCode.OK  # the agent's own certificate is below it, too

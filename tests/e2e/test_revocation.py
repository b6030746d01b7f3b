"""What is revoked is refused by real Envoys at the next handshake, and nothing else is."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.revocation import parse_crl
from sds.demo.envoy import Envoy
from sds.demo.ports import LOOPBACK, free_ports
from sds.demo.stack import DemoError
from tests.e2e.harness.cli import sds
from tests.e2e.harness.sds_client import Svid, fetch, svid_of
from tests.e2e.harness.thief import Thief
from tests.e2e.harness.wait import eventually, stays
from tests.e2e.harness.world import World, traffic
from tests.e2e.harness.world import world as new_world
from tests.e2e.test_authority_rotation import QUICK_AGENT, QUICK_SERVER

pytestmark = pytest.mark.e2e

WITHIN = 2.0
"""Seconds from the answer of `sds revoke` to the first refusal, at most; benchmarks/revoke.py says how many it takes."""


@dataclass(slots=True)
class Scene:
    """Two Envoys with traffic between them; whoever has the identity `probe` may talk to the back one, too."""

    world: World
    front: Envoy
    back: Envoy
    url: str
    port: int
    probe: dict[str, Any]

    async def stolen(self) -> Thief:
        """The SVID and key that the test process holds now, and the bundle."""
        socket = self.world.stack.sds_socket
        bundle = await fetch(socket, "ROOTCA")
        return Thief(await self.svid(), bundle.validation_context.trusted_ca.inline_bytes, self.world.folder)

    async def svid(self) -> Svid:
        return svid_of(await fetch(self.world.stack.sds_socket, "default"))

    async def revoke(self, *flags: str) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.world.cli("revoke", *flags, "--yes")).json
        assert answer["problem"] == ""
        return answer

    async def refused_soon(self, thief: Thief) -> float:
        """Seconds until the next handshake was refused."""
        started = time.monotonic()
        await eventually(lambda: thief.refused(self.port), within=WITHIN, every=0.01)
        return time.monotonic() - started

    async def crls(self) -> dict[str, frozenset[str]]:
        """What sidecars are told now: the serials of each issuer's list."""
        context = (await fetch(self.world.stack.sds_socket, "ROOTCA")).validation_context
        assert context.only_verify_leaf_cert_crl or not context.crl.inline_bytes
        blocks = context.crl.inline_bytes.split(b"-----END X509 CRL-----\n")[:-1]
        lists = [x509.load_pem_x509_crl(block + b"-----END X509 CRL-----\n") for block in blocks]
        read = [parse_crl(one.public_bytes(Encoding.DER)) for one in lists]
        return {crl.issuer_key_id: crl.serials for crl in read}


async def set_up(world: World) -> Scene:
    await world.entry("front")
    await world.entry("back")
    probe = await world.own_entry("probe", "--owner", "team-probe")
    port, back_port = free_ports(2)
    source = world.source()
    back = await world.envoy("back", world.back_config("back", back_port, ["front", "probe"], source))
    front = await world.envoy("front", world.front_config("front", port, back_port, ["back"], source))
    return Scene(world, front, back, f"http://{LOOPBACK}:{port}/", back_port, probe)


@pytest.fixture
async def scene(world: World) -> Scene:
    return await set_up(world)


@asynccontextmanager
async def quick_world() -> AsyncIterator[World]:
    async with new_world(server_env=QUICK_SERVER, agent_env=QUICK_AGENT) as made:
        await made.start()
        yield made


async def unrejected(*envoys: Envoy) -> None:
    for envoy in envoys:
        envoy.child.check()
        assert sum((await envoy.admin.stats("sds[.].*[.]update_rejected")).values()) == 0


async def test_a_revoked_certificate_is_refused_within_a_second_and_nobody_else_is(scene: Scene) -> None:
    thief = await scene.stolen()
    assert (await thief.ask(scene.port)).served
    async with traffic(scene.url) as tally:
        assert await scene.crls() == {}
        tried = (await scene.world.cli("revoke", "--serial", thief.serial)).json
        assert tried["dry_run"] is True
        assert tried["blast_radius"]["certificates_total"] == 1
        assert tried["blast_radius"]["owners"] == ["team-probe"]
        await stays(lambda: _served(thief, scene.port), during=0.5)
        await scene.revoke("--serial", thief.serial, "--reason", "key-compromise", "--incident", "INC-1")
        await scene.refused_soon(thief)
        await stays(lambda: thief.refused(scene.port), during=0.5)
        # Who was robbed gets another certificate by itself, with another key, and goes on.
        fresh = await eventually(lambda: _other(scene, thief))
        await eventually(lambda: _served(fresh, scene.port))
        assert tally.failed == 0, list(tally.failures)
    ((authority, serials),) = (await scene.crls()).items()
    assert serials == {thief.serial}
    assert await scene.back.admin.stat("listener.back.ssl.fail_verify_error") >= 1
    await unrejected(scene.front, scene.back)
    found = (await scene.world.stack.call("GET", "/v1/audit?action=revocation.create")).json()["events"]
    (event,) = found
    assert event["details"]["serials"] == [thief.serial]
    assert event["details"]["incident"] == "INC-1"
    assert authority


async def _served(thief: Thief, port: int) -> bool:
    return (await thief.ask(port)).served


async def _other(scene: Scene, thief: Thief) -> Thief | None:
    fresh = await scene.stolen()
    return fresh if fresh.serial != thief.serial else None


async def test_a_session_of_a_revoked_certificate_is_not_resumed(scene: Scene) -> None:
    thief = await scene.stolen()
    first = await thief.ask(scene.port)
    assert first.served
    assert first.session is not None
    again = await thief.ask(scene.port, first.session)
    assert (again.served, again.resumed) == (True, True), "Envoy resumes sessions here, so there is something to refuse"
    await scene.revoke("--serial", thief.serial)
    await scene.refused_soon(thief)
    for session in (first.session, again.session):
        assert not (await thief.ask(scene.port, session)).served


async def test_a_blocked_identity_gets_nothing_until_the_block_is_lifted(scene: Scene) -> None:
    world, probe = scene.world, scene.world.id("probe")
    thief = await scene.stolen()
    async with traffic(scene.url) as tally:
        revoked = await scene.revoke("--spiffe-id", probe, "--reason", "superseded")
        await scene.refused_soon(thief)
        await eventually(lambda: _gets_nothing(scene))
        with pytest.raises(DemoError, match=r"40[39]"):
            await world.stack.call("POST", "/v1/jwt:mint", {"spiffe_id": probe, "audience": ["x"]})
        listed = (await world.cli("block", "list", "--standing")).json["blocks"]
        assert [block["value"] for block in listed] == [probe]
        lifted = (await world.cli("block", "lift", revoked["block"]["id"], "--yes")).json
        assert lifted["released"] is False
        fresh = await eventually(lambda: _soon(scene, thief))
        await eventually(lambda: _served(fresh, scene.port))
        assert await thief.refused(scene.port), "what was revoked for good stays so"
        assert tally.failed == 0, list(tally.failures)


async def _gets_nothing(scene: Scene) -> bool:
    try:
        await scene.svid()
    except grpc.aio.AioRpcError as error:
        return error.code() in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED}
    return False


async def _soon(scene: Scene, thief: Thief) -> Thief | None:
    try:
        return await _other(scene, thief)
    except grpc.aio.AioRpcError:
        return None


async def test_a_hold_is_given_back(scene: Scene) -> None:
    thief = await scene.stolen()
    held = await scene.revoke("--entry", scene.probe["id"], "--reason", "certificate-hold")
    await scene.refused_soon(thief)
    lifted = (await scene.world.cli("block", "lift", held["block"]["id"], "--yes")).json
    assert lifted["released"] is True
    await eventually(lambda: _served(thief, scene.port), within=WITHIN, every=0.01)


async def test_a_revoked_key_is_never_certified_again(scene: Scene) -> None:
    thief = await scene.stolen()
    svid = await scene.svid()
    spki = svid.chain[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    revoked = await scene.revoke("--key", sha256(spki).hexdigest(), "--reason", "key-compromise")
    assert revoked["blast_radius"]["certificates_total"] == 1
    await scene.refused_soon(thief)
    fresh = await eventually(lambda: _other(scene, thief))
    await eventually(lambda: _served(fresh, scene.port))


async def test_a_revoked_agent_is_cut_off_with_all_that_its_workloads_hold(scene: Scene) -> None:
    thief = await scene.stolen()
    revoked = await scene.revoke("--agent", scene.world.stack.agent_id, "--incident", "INC-9")
    assert revoked["blast_radius"]["certificates_total"] >= 4  # front, back, probe and its own
    agent = (await scene.world.cli("agent", "show", scene.world.stack.agent_id)).json
    assert agent["banned"] is True
    assert agent["banned_reason"] == "INC-9"

    async def away() -> bool:
        shown = (await scene.world.cli("agent", "show", scene.world.stack.agent_id)).json
        return not shown["connected"]

    await eventually(away)
    serials = (await scene.world.cli("block", "show", revoked["block"]["id"])).json["revocations"]
    assert thief.serial in {one["serial"].lstrip("0") for one in serials}
    token = await sds(
        "token", "create", "--spiffe-id", scene.world.stack.agent_id,
        "--admin-socket", str(scene.world.stack.admin_socket),
    )  # fmt: skip
    assert token.status != 0


@pytest.mark.timeout(300)
async def test_lists_of_all_authorities_across_a_rotation_under_traffic() -> None:
    """A list of one issuer alone would make Envoy refuse what all others issued."""
    async with quick_world() as world:
        scene = await set_up(world)
        thief = await scene.stolen()
        async with traffic(scene.url) as http1, traffic(scene.url, http2=True) as http2:
            await scene.revoke("--serial", thief.serial)
            await scene.refused_soon(thief)
            (first,) = await scene.crls()
            ran = await sds(
                "ca", "rotate", "--admin-socket", str(world.stack.admin_socket), "--output", "json", within=90
            )
            second = ran.ok().json_lines[-1]["authority_id"]
            assert (await scene.crls()).keys() == {first, second}
            await asyncio.sleep(1.0)
            fresh = await eventually(lambda: _other(scene, thief))
            await eventually(lambda: _served(fresh, scene.port))
            await scene.revoke("--serial", fresh.serial)
            await scene.refused_soon(fresh)
            assert await thief.refused(scene.port)
            for tally in (http1, http2):
                assert tally.failed == 0, list(tally.failures)
        await unrejected(scene.front, scene.back)


@pytest.mark.timeout(300)
async def test_a_revoked_authority_is_out_at_once_with_all_that_it_issued() -> None:
    async with quick_world() as world:
        scene = await set_up(world)
        thief = await scene.stolen()
        (before,) = [
            one["id"]
            for one in (await world.cli("ca", "show", "--kind", "x509")).json["authorities"]
            if one["state"] == "active"
        ]
        tried = (await world.cli("revoke", "--authority", before)).json
        assert any("active" in note for note in tried["blast_radius"]["notes"])
        await scene.revoke("--authority", before, "--reason", "ca-compromise")
        await eventually(lambda: thief.refused(scene.port))
        after = (await world.cli("ca", "show", "--kind", "x509")).json["authorities"]
        assert [(one["id"] == before, one["state"]) for one in after if one["state"] == "active"] == [(False, "active")]
        fresh = await eventually(lambda: _soon(scene, thief))
        await eventually(lambda: _served(fresh, scene.port))
        await eventually(lambda: _front_works(scene))


async def _front_works(scene: Scene) -> bool:
    async with traffic(scene.url) as tally:
        await asyncio.sleep(0.3)
    return tally.requests > 0 and tally.failed == 0


# Stapling

OPENSSL = shutil.which("openssl")


@pytest.mark.skipif(OPENSSL is None, reason="there is no openssl")
async def test_a_real_envoy_staples_the_answer_and_takes_each_new_one() -> None:
    """Envoy 1.40 hands on what it is given; whether a client looks at it is the client's affair."""
    agent = {"SDS_AGENT_SVID__OCSP_STAPLE": "workload"}
    server = {"SDS_SERVER_REVOCATION__OCSP_VALIDITY": "10s"}
    async with new_world(server_env=server, agent_env=agent) as world:
        await world.start()
        scene = await set_up(world)
        seen: set[str] = set()

        async def stapled() -> bool:
            said = await _openssl_status(scene)
            assert "OCSP Response Status: successful" in said or "no response sent" in said, said
            found = re.search(r"Produced At: (.*)", said)
            if found is None:
                return False
            assert "Cert Status: good" in said
            assert "Response verify OK" in said or "OCSP Response Data" in said
            seen.add(found[1])
            return len(seen) > 1

        await eventually(stapled, within=30, every=0.5)
        async with traffic(scene.url) as tally:
            await asyncio.sleep(0.5)
        assert tally.failed == 0, list(tally.failures)
        await unrejected(scene.front, scene.back)


async def _openssl_status(scene: Scene) -> str:
    """What OpenSSL's client is shown in the handshake when it asks for the certificate's status."""
    assert OPENSSL is not None
    ca = scene.world.folder / "ca.pem"
    ca.write_bytes((await fetch(scene.world.stack.sds_socket, "ROOTCA")).validation_context.trusted_ca.inline_bytes)
    process = await asyncio.create_subprocess_exec(
        OPENSSL, "s_client", "-connect", f"{LOOPBACK}:{scene.port}", "-status", "-CAfile", str(ca),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 10)
    return out.decode(errors="replace")

"""Getting the first SVID, over real TLS, from a server that may be wrong, away or unwilling."""

from __future__ import annotations

import asyncio
import os

import grpc
import pytest
from structlog.testing import capture_logs

from ca.csr import parse_csr
from sds.agent.errors import CannotStart, IdentityUnusable
from tests.contract.agent.conftest import Node
from tests.fakes.ca import make_authority, make_bundle_of
from tests.fakes.node_server import AGENT_ID, TOKEN
from tests.fakes.wait import PATIENCE


async def test_a_token_becomes_an_identity(node: Node) -> None:
    identity = await node.identity()
    assert str(identity.svid.spiffe_id) == AGENT_ID
    assert identity.bundle.x509_authorities == node.server.bundle.x509_authorities
    (request,) = node.server.seen.attests
    assert (request.type, request.payload) == ("join_token", TOKEN.encode())
    assert parse_csr(request.csr).key_hash == identity.svid.key_hash
    assert identity.private_key_pem.reveal() not in request.SerializeToString()


async def test_the_bundle_may_be_in_the_spiffe_format(node: Node) -> None:
    node.write_bundle(node.server.bundle.spiffe_json())
    node.write_token()
    assert str((await node.enroller().first()).svid.spiffe_id) == AGENT_ID


async def test_the_stored_bundle_serves_when_none_is_given(node: Node) -> None:
    former = await node.identity()
    enroller = node.enroller(trust_bundle=None, stored=lambda: former)
    node.write_token("another")
    node.server.tokens["another"] = AGENT_ID
    assert str((await enroller.first()).svid.spiffe_id) == AGENT_ID


async def test_a_file_of_the_first_day_does_not_stand_above_the_bundle_of_today(node: Node) -> None:
    """Authorities are replaced; nobody replaces files."""
    former = await node.identity()
    path = node.write_bundle(make_bundle_of(make_authority(now=node.clock.now())).pem())
    long_ago = former.svid.not_before.timestamp() - 60
    os.utime(path, (long_ago, long_ago))
    node.write_token("another")
    node.server.tokens["another"] = AGENT_ID
    assert str((await node.enroller(stored=lambda: former).first()).svid.spiffe_id) == AGENT_ID


async def test_a_file_that_somebody_gave_since_does(node: Node) -> None:
    """As after a revocation that this agent has not heard of."""
    former = await node.identity()
    node.write_bundle(make_bundle_of(make_authority(now=node.clock.now())).pem())
    node.write_token("another")
    with pytest.raises(CannotStart, match="does not verify against the trust bundle"):
        await node.enroller(stored=lambda: former).first()
    assert len(node.server.seen.attests) == 1, "the token was never sent"


async def test_what_is_stored_and_damaged_leaves_the_file(node: Node) -> None:
    def damaged() -> None:
        raise IdentityUnusable("damaged")

    node.write_bundle()
    node.write_token()
    assert str((await node.enroller(stored=damaged).first()).svid.spiffe_id) == AGENT_ID


async def test_a_used_token_ends_the_start_with_what_to_do(node: Node) -> None:
    await node.identity()
    with pytest.raises(CannotStart, match=r"unknown, used or expired.*sds token create") as caught:
        await node.enroller().first()
    assert str(caught.value).count("sds token create") == 1, "said once: by the agent"
    assert len(node.server.seen.attests) == 2, "a refusal is not tried again"


async def test_a_server_that_another_bundle_vouches_for_is_not_trusted_with_the_token(node: Node) -> None:
    node.write_bundle(make_bundle_of(make_authority(now=node.clock.now())).pem())
    node.write_token()
    with pytest.raises(CannotStart, match="does not verify against the trust bundle"):
        await node.enroller().first()
    assert not node.server.seen.attests, "the token was never sent"


async def test_a_server_that_is_away_is_waited_for(node: Node) -> None:
    node.write_bundle()
    node.write_token()
    await node.server.stop()
    with capture_logs() as lines:
        attesting = asyncio.create_task(node.enroller().first())
        async with asyncio.timeout(PATIENCE):
            while len(lines) < 2:
                await asyncio.sleep(0.01)
        await node.server.start()
        async with asyncio.timeout(PATIENCE):
            assert str((await attesting).svid.spiffe_id) == AGENT_ID
    assert "cannot be reached" in lines[0]["event"]
    assert "--attest-listen" not in lines[0]["reason"]
    assert TOKEN not in str(lines)


async def test_a_server_that_is_too_busy_is_asked_again(node: Node) -> None:
    node.write_bundle()
    node.write_token()
    node.server.mishaps.attest = (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many attestations from this address")
    attesting = asyncio.create_task(node.enroller().first())
    async with asyncio.timeout(PATIENCE):
        while len(node.server.seen.attests) < 2:
            await asyncio.sleep(0.01)
        node.server.mishaps.attest = None
        assert str((await attesting).svid.spiffe_id) == AGENT_ID


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("token", None, r"token cannot be read: No such file"),
        ("token", b"  \n", r"holds no token; create a token with `sds token create`"),
        ("token", b"x" * 5000, r"holds no token"),
        ("bundle", None, r"bundle cannot be read: No such file"),
        ("bundle", b"", r"cannot be used"),
        ("bundle", b"rubbish", r"cannot be used"),
        ("bundle", b"{}", r"cannot be used"),
        ("bundle", b'{"keys": []}', r"holds no X.509 authority"),
    ],
)
async def test_files_that_are_no_use_are_named(node: Node, file: str, content: bytes | None, problem: str) -> None:
    node.write_bundle()
    node.write_token()
    if content is None:
        (node.folder / file).unlink()
    else:
        (node.folder / file).write_bytes(content)
    with pytest.raises(CannotStart, match=problem):
        await node.enroller().first()


@pytest.mark.parametrize("mode", [0o640, 0o604])
async def test_a_token_that_others_may_read_is_warned_of_once(node: Node, mode: int) -> None:
    node.write_bundle()
    node.write_token().chmod(mode)
    with capture_logs() as lines:
        enroller = node.enroller()
        await enroller.first()
        with pytest.raises(CannotStart):
            await enroller.first()
    (line,) = lines
    assert (line["log_level"], line["path"], line["mode"]) == ("warning", str(node.folder / "token"), f"{mode:04o}")
    assert "chmod 600" in line["event"]


async def test_a_private_token_is_nothing_to_warn_of(node: Node) -> None:
    with capture_logs() as lines:
        await node.identity()
    assert not lines


async def test_the_other_port_of_the_server_is_told_from_a_server_that_is_away(node: Node) -> None:
    """Its mTLS port hangs up on who has no certificate, and that may happen for ever."""
    node.write_bundle()
    node.write_token()
    with capture_logs() as lines:
        attesting = asyncio.create_task(node.enroller(address=node.server.address).first())
        async with asyncio.timeout(PATIENCE):
            while not lines:
                await asyncio.sleep(0.01)
        attesting.cancel()
        await asyncio.wait({attesting})
    assert f"is {node.server.address} the server's --attest-listen address" in lines[0]["reason"]


async def test_without_a_token_or_a_bundle_the_error_says_what_to_do(node: Node) -> None:
    node.write_bundle()
    with pytest.raises(CannotStart, match="sds token create"):
        await node.enroller(join_token_file=None).first()
    node.write_token()
    with pytest.raises(CannotStart, match="sds bundle show"):
        await node.enroller(trust_bundle=None).first()


async def test_an_answer_that_does_not_hold_together_is_refused(node: Node) -> None:
    """The server signs with an authority that is not in the bundle that it sends."""
    node.write_bundle()
    node.write_token()
    node.server.mishaps.stranger = make_authority(now=node.clock.now())
    with pytest.raises(CannotStart, match=r"does not verify|is this host's clock right"):
        await node.enroller().first()


async def test_after_expiry_a_new_token_is_waited_for_and_an_old_one_not_tried_again(node: Node) -> None:
    await node.identity()
    enroller = node.enroller()
    with capture_logs() as lines:
        attesting = asyncio.create_task(enroller.again())
        async with asyncio.timeout(PATIENCE):
            while not lines:
                await asyncio.sleep(0.01)
    assert "unknown, used or expired" in lines[0]["reason"]
    assert "sds token create" in lines[0]["reason"]
    asked = len(node.server.seen.attests)
    attesting.cancel()
    await asyncio.wait({attesting})
    node.server.tokens["new"] = AGENT_ID
    node.write_token("new")
    async with asyncio.timeout(PATIENCE):
        assert str((await enroller.again()).svid.spiffe_id) == AGENT_ID
    assert len(node.server.seen.attests) == asked + 1

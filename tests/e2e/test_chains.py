"""Other people's verifiers accept what is issued."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from tests.e2e.harness import sds_client
from tests.e2e.harness.cli import sds
from tests.e2e.harness.world import World
from tests.e2e.harness.world import world as new_world

pytestmark = pytest.mark.e2e

KEY_TYPES = ["ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"]


async def openssl_verify(folder: Path, svid: sds_client.Svid, roots: bytes) -> str:
    """The output of `openssl verify`; fails the test if it does not accept the chain for both purposes."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: apt-get install openssl")
    (folder / "roots.pem").write_bytes(roots)
    (folder / "chain.pem").write_bytes(svid.chain_pem)
    said = ""
    for purpose in ("sslserver", "sslclient"):
        process = await asyncio.create_subprocess_exec(
            *("openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(folder / "roots.pem")),
            *("-untrusted", str(folder / "chain.pem"), str(folder / "chain.pem")),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        said += out.decode()
    return said


@pytest.mark.parametrize("key_type", KEY_TYPES)
async def test_openssl_and_cryptography_verify_every_chain(key_type: str) -> None:
    """The workload's, under an authority of each key type."""
    async with new_world(server_env={"SDS_SERVER_CA__KEY_TYPE": key_type}) as world:
        await world.start()
        await world.own_entry("chain", "--dns", "chain.test")
        svid = sds_client.svid_of(await sds_client.fetch(world.stack.sds_socket, "default"))
        bundle = await sds_client.fetch(world.stack.sds_socket, "ROOTCA")
        roots = bundle.validation_context.trusted_ca.inline_bytes
        assert "OK" in await openssl_verify(world.folder, svid, roots)
        if key_type != "ed25519":  # cryptography's verifier knows no Ed25519 authorities
            leaf, *others = svid.chain
            store = Store(x509.load_pem_x509_certificates(roots))
            verifier = PolicyBuilder().store(store).time(datetime.now(UTC)).build_client_verifier()
            assert verifier.verify(leaf, others).chain[0] == leaf


async def test_the_published_bundle_is_the_one_that_sidecars_get(world: World) -> None:
    await world.own_entry()
    socket = str(world.stack.admin_socket)
    shown = (await sds("bundle", "show", "--format", "pem", "--admin-socket", socket)).ok().out
    bundle = await sds_client.fetch(world.stack.sds_socket, "ROOTCA")
    assert x509.load_pem_x509_certificates(shown.encode()) == x509.load_pem_x509_certificates(
        bundle.validation_context.trusted_ca.inline_bytes
    )

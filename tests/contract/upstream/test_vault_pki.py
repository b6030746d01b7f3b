"""An upstream in a real Vault's PKI engine: its limits, its policy, its rotation, and its loss."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.spiffe_id import TrustDomain
from ca.authority import AuthorityState
from ca.bundle import parse_pem
from ca.errors import AuthorityUnavailable
from ca.keys import KeyType, generate
from ca.signer import LocalSigner
from ca.upstream import Minted
from ca.upstreams.following import Published, follow
from ca.upstreams.vault_pki import MARGIN, VaultPkiUpstream
from sds.clock import SystemClock
from sds.server.upstream.pki import WatchedMount
from sds.server.upstream.watch import UpstreamWatch
from sds.vault.pki_upstream import VaultPki
from tests.contract.node.harness import running
from tests.contract.upstream.test_upstreams import signing
from tests.e2e.harness.vault_ca import documented_policy
from tests.fakes.ca import TRUST_DOMAIN
from tests.fakes.pki import make
from tests.fakes.vault_direct import DirectVault
from tests.fakes.vault_pki import PkiEngines, Silent
from tests.fakes.vault_server import VaultServer

HOUR = timedelta(hours=1)
P256 = KeyType.ECDSA_P256


class Below:
    """What we are below an engine, with a token that may do what the documentation says."""

    def __init__(
        self,
        vault: VaultServer,
        engine: str,
        bundle: Path | None = None,
        token: str | None = None,
        trust_domain: TrustDomain = TRUST_DOMAIN,
        **how: Any,
    ) -> None:
        policy = vault.policy(documented_policy("upstreams/vault-pki.md", pki=engine))
        self.watch = UpstreamWatch("vault_pki", Silent())
        self.vault = DirectVault(vault, token or vault.token("default", policy))
        pki = VaultPki(self.vault, engine, **how)
        interval = timedelta(milliseconds=100)
        self.mount = WatchedMount(pki, bundle, trust_domain, self.watch, SystemClock(), interval)
        self.upstream = VaultPkiUpstream(self.mount, timedelta(seconds=10))
        self.trust_domain = trust_domain
        self.key = generate(P256)

    async def mint(self, lifetime: timedelta = HOUR) -> Minted:
        now = datetime.now(UTC)
        return await self.upstream.mint(LocalSigner.of(self.key), P256, self.trust_domain, lifetime, now)


@pytest.fixture
def engines(vault_shared: VaultServer) -> PkiEngines:
    return PkiEngines(vault_shared)


def path_length(minted: Minted) -> int | None:
    certificate = x509.load_der_x509_certificate(minted.certificate)
    return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length


@pytest.mark.both_vaults
async def test_the_documented_policy_is_enough(engines: PkiEngines, vault_shared: VaultServer) -> None:
    engine = engines.root()
    minted = await Below(vault_shared, engine).mint()
    assert minted.roots == (engines.der(engine),)
    assert minted.chain == (minted.certificate,)


async def test_without_permission_to_sign_no_key_is_made_in_vain(
    engines: PkiEngines, vault_shared: VaultServer
) -> None:
    """It shows at the next look, and not when an authority is due."""
    engine = engines.root()
    policy = documented_policy("upstreams/vault-pki.md", pki=engine).replace('"create", "update"', '"read"')
    below = Below(vault_shared, engine, token=vault_shared.token("default", vault_shared.policy(policy)))
    with pytest.raises(AuthorityUnavailable, match="does not allow this server to sign"):
        await below.mount.look()
    with pytest.raises(AuthorityUnavailable, match="does not allow"):
        below.upstream.check()


@pytest.mark.parametrize(("allowed", "wanted", "got"), [(None, None, None), (None, 1, 1), (1, None, 0), (3, 1, 1)])
async def test_path_lengths(
    engines: PkiEngines, vault_shared: VaultServer, allowed: int | None, wanted: int | None, got: int | None
) -> None:
    engine = engines.root(**({} if allowed is None else {"max_path_length": allowed}))
    assert path_length(await Below(vault_shared, engine, path_length=wanted).mint()) == got


async def test_an_issuer_that_allows_none_below_it(engines: PkiEngines, vault_shared: VaultServer) -> None:
    below = Below(vault_shared, engines.root(max_path_length=0))
    with pytest.raises(AuthorityUnavailable, match="path length"):
        await below.mint()


async def test_name_constraints(engines: PkiEngines, vault_shared: VaultServer) -> None:
    """An issuer for another company's names is refused before anything is signed."""
    now = datetime.now(UTC)
    only = x509.NameConstraints([x509.UniformResourceIdentifier("example.org")], None)
    life = {"before": now - HOUR, "after": now + 48 * HOUR}
    engine = engines.imported(make("constrained", more=[(only, True)], **life))
    await Below(vault_shared, engine).mint()
    elsewhere = Below(vault_shared, engine, trust_domain=TrustDomain("elsewhere.test"))
    with pytest.raises(AuthorityUnavailable, match="may not name our authorities"):
        await elsewhere.mint()
    with pytest.raises(AuthorityUnavailable, match="may not name"):
        elsewhere.upstream.check()


async def test_it_never_outlives_its_issuer_nor_what_the_engine_allows(
    engines: PkiEngines, vault_shared: VaultServer
) -> None:
    short = engines.root(ttl="30m")
    below = Below(vault_shared, short)
    end = (await below.mount.look()).validity.not_after
    minted = await below.mint(timedelta(days=30))
    assert end - MARGIN - timedelta(seconds=10) <= minted.not_after < end
    limited = engines.root()
    vault_shared.write_blocking(f"sys/mounts/{limited}/tune", {"max_lease_ttl": "10m"})
    minted = await Below(vault_shared, limited).mint(HOUR)
    assert timedelta(minutes=9) < minted.not_after - datetime.now(UTC) < timedelta(minutes=11)
    dying = Below(vault_shared, engines.root(ttl="70s"))
    with pytest.raises(AuthorityUnavailable, match="expires at"):
        await dying.mint()


async def test_an_intermediates_root_comes_from_the_engine_or_from_a_file(
    engines: PkiEngines, vault_shared: VaultServer, tmp_path: Path
) -> None:
    engine = engines.below_a_root()
    minted = await Below(vault_shared, engine).mint()
    assert len(minted.chain) == 2
    (root,) = minted.roots
    bundle = tmp_path / "roots.pem"
    bundle.write_text(x509.load_der_x509_certificate(root).public_bytes(Encoding.PEM).decode())
    assert (await Below(vault_shared, engine, bundle).mint()).roots == (root,)
    bundle.write_text(engines.certificate(engines.root()))
    with pytest.raises(AuthorityUnavailable, match="does not lead to a root"):
        await Below(vault_shared, engine, bundle).mint()
    bundle.write_text("nothing")
    with pytest.raises(AuthorityUnavailable, match="holds no PEM certificate"):
        await Below(vault_shared, engine, bundle).mint()


async def test_the_engines_next_root_is_published_before_it_signs(
    engines: PkiEngines, vault_shared: VaultServer
) -> None:
    """Rotated as the documentation says; an authority below the old root stays sound, and keeps its root at the end."""
    engine = engines.root()
    old = engines.der(engine)
    below = Below(vault_shared, engine)
    first = await below.mint()
    told: list[Published] = []
    running = asyncio.create_task(below.mount.run(remember(told)))
    coming = engines.next_root(engine)
    new = engines.der(engine, coming)
    await until(lambda: bool(told) and set(told[-1].roots) == {old, new})
    assert (await below.mint()).certificate != first.certificate
    still = x509.load_der_x509_certificate((await below.mint()).certificate)
    assert still.issuer == x509.load_der_x509_certificate(old).subject
    engines.use(engine, coming)
    after = x509.load_der_x509_certificate((await below.mint()).certificate)
    assert after.issuer == x509.load_der_x509_certificate(new).subject
    old_id = next(one for one in vault_shared.list_blocking(f"{engine}/issuers") if one != coming)
    vault_shared.delete_blocking(f"{engine}/issuer/{old_id}")
    await until(lambda: told[-1].roots == (new,))
    running.cancel()
    standing = signing(first, below.key, P256, "vault_pki").authority
    followed = follow(standing, told[-1], datetime.now(UTC))
    assert (followed.state, followed.revoked) == (AuthorityState.ACTIVE, False)
    assert set(followed.roots) == {old, new}


async def test_another_issuer_than_the_default_may_sign(engines: PkiEngines, vault_shared: VaultServer) -> None:
    engine = engines.root()
    engines.next_root(engine)
    token = vault_shared.root
    minted = await Below(vault_shared, engine, token=token, issuer="coming").mint()
    (pem,) = (engines.certificate(engine, "coming"),)
    above = parse_pem(TRUST_DOMAIN, pem.encode()).x509_authorities[0]
    issuer = x509.load_der_x509_certificate(minted.certificate).issuer
    assert issuer == x509.load_der_x509_certificate(above).subject


async def test_sealed_killed_and_back(vault_on_disk: VaultServer) -> None:
    engine = await asyncio.to_thread(PkiEngines(vault_on_disk).root)
    below = await asyncio.to_thread(Below, vault_on_disk, engine)
    running = asyncio.create_task(below.mount.run(remember([])))
    await until(lambda: below.watch.problem is None)
    for leave, come in ((vault_on_disk.seal, vault_on_disk.unseal), (vault_on_disk.kill, vault_on_disk.start)):
        await asyncio.to_thread(leave)
        await until(lambda: below.watch.problem is not None)
        with pytest.raises(AuthorityUnavailable, match="cannot be used"):
            below.upstream.check()
        with pytest.raises(AuthorityUnavailable, match="cannot be used"):
            await below.mint()
        await asyncio.to_thread(come)
        await until(lambda: below.watch.problem is None)
        await below.mint()
    running.cancel()


async def test_a_first_start_waits_for_vault_and_later_ones_do_not_need_it(
    vault_on_disk: VaultServer, tmp_path: Path
) -> None:
    engine = await asyncio.to_thread(PkiEngines(vault_on_disk).root)
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(vault_on_disk.root)
    settings = {
        "vault.address": vault_on_disk.url,
        "vault.ca_file": str(vault_on_disk.ca_file),
        "vault.auth.token_file": str(token),
        "ca.upstream.plugin": "vault_pki",
        "ca.upstream.vault_pki.mount": engine,
        "ca.upstream.vault_pki.poll_interval": "100ms",
    }
    with tempfile.TemporaryDirectory(prefix="sds-p-") as made:
        folder = Path(made)
        await asyncio.to_thread(vault_on_disk.seal)
        up, done = asyncio.Event(), asyncio.Event()

        async def serve() -> None:
            async with running(folder, **settings):
                up.set()
                await done.wait()

        serving = asyncio.create_task(serve())
        await asyncio.sleep(5)
        assert not up.is_set()
        assert not serving.done()
        await asyncio.to_thread(vault_on_disk.unseal)
        async with asyncio.timeout(60):
            await up.wait()
        done.set()
        await serving
        await asyncio.to_thread(vault_on_disk.seal)
        async with running(folder, **settings) as again:
            root = parse_pem(TRUST_DOMAIN, again.roots).x509_authorities
        await asyncio.to_thread(vault_on_disk.unseal)
        assert root == (await asyncio.to_thread(PkiEngines(vault_on_disk).der, engine),)


def remember(told: list[Published]) -> Callable[[Published], Awaitable[object]]:
    async def take(published: Published) -> None:
        told.append(published)

    return take


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.05)

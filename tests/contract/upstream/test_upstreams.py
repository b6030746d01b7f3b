"""What every upstream authority must do, wherever its certificates come from. A new one joins `PLUGINS`."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store

from attestation.spiffe_id import SpiffeId
from ca.authority import Authority, AuthorityKind, AuthorityState, SigningAuthority
from ca.bundle import make_bundle, to_pem
from ca.catalog import UPSTREAMS, UpstreamParts, upstream_authority
from ca.chains.checks import check_minted
from ca.checks import check_authority
from ca.csr import VerifiedCsr, parse_csr
from ca.errors import AuthorityUnavailable
from ca.intent import IssueRequest
from ca.keys import KeyType, PrivateKey, generate, spki_der
from ca.masked import Masked
from ca.profile import ProfileName
from ca.serial import random_serial
from ca.signer import LocalSigner
from ca.svid import parse_svid
from ca.template import subject_key_id
from ca.upstream import Minted, UpstreamAuthority
from ca.upstreams.disk import parse_issuer
from ca.upstreams.issuing import Issuer, draft, sign
from ca.upstreams.nested import Intermediate
from ca.upstreams.vault_pki import MARGIN, SKEW, Order, PkiIssuer
from ca.verify import verify_svid
from sds.clock import SystemClock
from sds.server.upstream.pki import WatchedMount
from sds.server.upstream.watch import UpstreamWatch
from sds.vault.pki_upstream import VaultPki
from tests.fakes.ca import TRUST_DOMAIN, issue_one, make_authority
from tests.fakes.clock import EPOCH
from tests.fakes.pki import make
from tests.fakes.vault_direct import DirectVault
from tests.fakes.vault_pki import PkiEngines, Silent
from tests.fakes.vault_server import VaultBinary, VaultServer, vault_binaries

BACKDATE = timedelta(seconds=10)
LIFETIME = timedelta(days=30)
SECOND = timedelta(seconds=1)


def serials() -> int:
    return random_serial(os.urandom)


class Source:
    """What a plugin depends on; it can go away and come back."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.away = False

    def current(self) -> Issuer:
        if self.away:
            raise AuthorityUnavailable("the files are away")
        return self.issuer

    def check(self) -> None:
        if self.away:
            raise AuthorityUnavailable("the server is away")

    async def sign(self, csr: bytes, lifetime: timedelta) -> Intermediate:
        if self.away:
            raise AuthorityUnavailable("the server is away")
        key = parse_csr(csr).public_key
        wanted = draft(self.issuer, TRUST_DOMAIN, key, serials(), EPOCH, lifetime, BACKDATE, path_length=0)
        minted = sign(self.issuer, wanted, EPOCH)
        return Intermediate(minted.chain, minted.roots)


@dataclass(frozen=True)
class Plugin:
    upstream: UpstreamAuthority
    source: Source | None
    now: datetime = EPOCH
    exact: timedelta = timedelta(0)
    """How much sooner than its source an authority may end."""


def self_signed() -> Plugin:
    return Plugin(upstream_authority(UpstreamParts(serials, BACKDATE), "self_signed"), None)


def disk() -> Plugin:
    root = make("root")
    issuing = make("issuing", root, path_length=1)
    source = Source(parse_issuer(issuing.pem + root.pem, Masked(issuing.key_pem), None, EPOCH))
    return Plugin(upstream_authority(UpstreamParts(serials, BACKDATE, disk=source), "disk"), source)


def sds() -> Plugin:
    above = make_authority()
    root = above.authority.certificate
    source = Source(Issuer(above.certificate, above.signer, (), (root,), above.authority.validity))
    return Plugin(upstream_authority(UpstreamParts(serials, BACKDATE, sds=source), "sds"), source)


class PkiSource(Source):
    """A real PKI engine, whose issuer is known from what it showed at first."""

    def __init__(self, mount: WatchedMount, issuer: PkiIssuer) -> None:
        chain = tuple(one.public_bytes(Encoding.DER) for one in issuer.path[:-1])
        nobody = LocalSigner.of(generate(KeyType.ECDSA_P256))
        super().__init__(Issuer(issuer.path[0], nobody, chain, issuer.roots, issuer.validity, issuer.path_length))
        self.mount = mount

    def check(self) -> None:
        super().check()
        self.mount.check()

    async def look(self) -> PkiIssuer:
        super().check()
        return await self.mount.look()

    async def sign_order(self, order: Order) -> tuple[bytes, ...]:
        return await self.mount.sign(order)


@dataclass(frozen=True)
class PkiPlace:
    """Implements ca.upstreams.vault_pki.PkiMount."""

    source: PkiSource

    def check(self) -> None:
        self.source.check()

    async def look(self) -> PkiIssuer:
        return await self.source.look()

    async def sign(self, order: Order) -> tuple[bytes, ...]:
        return await self.source.sign_order(order)


async def vault_pki(vault: VaultServer) -> Plugin:
    engine = PkiEngines(vault).below_a_root()
    watch = UpstreamWatch("vault_pki", Silent())
    mount = WatchedMount(VaultPki(DirectVault(vault), engine), None, TRUST_DOMAIN, watch, SystemClock(), SECOND)
    source = PkiSource(mount, await mount.look())
    upstream = upstream_authority(UpstreamParts(serials, BACKDATE, vault_pki=PkiPlace(source)), "vault_pki")
    return Plugin(upstream, source, datetime.now(UTC), MARGIN + 10 * SECOND)


PLUGINS: Mapping[str, Callable[[], Plugin]] = {"self_signed": self_signed, "disk": disk, "sds": sds}
PLACES: list[tuple[str, VaultBinary | None]] = [
    *((name, None) for name in PLUGINS),
    *(("vault_pki", binary) for binary in vault_binaries()),
]


def test_every_upstream_of_the_catalogue_is_held_to_this() -> None:
    assert {name for name, _ in PLACES} == set(UPSTREAMS)


@pytest.mark.parametrize("name", ["disk", "sds", "vault_pki"])
def test_one_that_lacks_its_source_cannot_be_chosen(name: str) -> None:
    with pytest.raises(ValueError, match="lacks"):
        upstream_authority(UpstreamParts(serials, BACKDATE), name)


@pytest.fixture(params=PLACES, ids=lambda place: "-".join(str(part) for part in place if part))
async def plugin(request: pytest.FixtureRequest, vaults: Callable[[VaultBinary], VaultServer]) -> Plugin:
    name, binary = request.param
    made = PLUGINS[name]() if binary is None else await vault_pki(await asyncio.to_thread(vaults, binary))
    assert made.upstream.name == name
    return made


def signing(minted: Minted, key: PrivateKey, key_type: KeyType, upstream: str) -> SigningAuthority:
    spki = spki_der(key.public_key())
    authority = Authority(
        id=subject_key_id(spki).hex(),
        trust_domain=TRUST_DOMAIN,
        kind=AuthorityKind.X509,
        state=AuthorityState.ACTIVE,
        key_ref="fake:1",
        key_type=key_type,
        public_key=spki,
        certificate=minted.certificate,
        not_before=minted.not_before,
        not_after=minted.not_after,
        created_at=minted.not_before,
        activated_at=minted.not_before,
        chain=minted.chain,
        roots=minted.roots,
        upstream=upstream,
    )
    return SigningAuthority.open(authority, LocalSigner.of(key))


async def minted_for(plugin: Plugin, key: PrivateKey, key_type: KeyType, lifetime: timedelta = LIFETIME) -> Minted:
    return await plugin.upstream.mint(LocalSigner.of(key), key_type, TRUST_DOMAIN, lifetime, plugin.now)


@pytest.mark.parametrize("key_type", [KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.RSA_2048, KeyType.ED25519])
async def test_what_it_mints_carries_an_authority_whose_leaves_verify(
    plugin: Plugin, key_type: KeyType, tmp_path: Path
) -> None:
    key = generate(key_type)
    minted = await minted_for(plugin, key, key_type)
    check_minted(minted, key.public_key(), TRUST_DOMAIN, plugin.now)
    authority = signing(minted, key, key_type, plugin.upstream.name)
    check_authority(authority, plugin.now, serials())
    leaf_key = generate(KeyType.ECDSA_P256)
    request = IssueRequest(
        ProfileName.WORKLOAD, SpiffeId(TRUST_DOMAIN, "/web"), VerifiedCsr.of_own_key(leaf_key), ("a.example.org",)
    )
    issued = issue_one(request, authority, plugin.now)
    roots = authority.authority.bundle_certificates
    verify_svid(parse_svid(issued.chain), make_bundle(TRUST_DOMAIN, roots), plugin.now)
    openssl(issued.chain, roots, tmp_path, plugin.now)
    if key_type is not KeyType.ED25519:  # which the library does not verify by
        leaf, *above = map(x509.load_der_x509_certificate, issued.chain)
        store = Store([x509.load_der_x509_certificate(der) for der in roots])
        PolicyBuilder().store(store).time(plugin.now).build_client_verifier().verify(leaf, above)


def openssl(chain: tuple[bytes, ...], roots: tuple[bytes, ...], folder: Path, now: datetime) -> None:
    leaf, *above = chain
    for name, content in (("roots", roots), ("leaf", [leaf]), ("above", above)):
        (folder / name).write_bytes(b"".join(map(to_pem, content)))
    untrusted = ["-untrusted", str(folder / "above")] if above else []
    arguments = ["-x509_strict", "-attime", str(int(now.timestamp())), "-CAfile", str(folder / "roots")]
    done = subprocess.run(
        ["openssl", "verify", *arguments, *untrusted, str(folder / "leaf")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


async def test_it_lasts_no_longer_than_was_asked_and_says_how_long(plugin: Plugin) -> None:
    key = generate(KeyType.ECDSA_P256)
    for lifetime in (timedelta(minutes=5), timedelta(days=30), timedelta(days=3650)):
        minted = await minted_for(plugin, key, KeyType.ECDSA_P256, lifetime)
        certificate = x509.load_der_x509_certificate(minted.certificate)
        late = timedelta(0) if plugin.now == EPOCH else SKEW  # Vault counts from its own now
        assert minted.not_after <= plugin.now + lifetime + late
        assert plugin.now - BACKDATE - SECOND <= minted.not_before <= plugin.now + late
        assert certificate.not_valid_after_utc == minted.not_after
    source = plugin.source
    if source is not None:
        end = source.issuer.validity.not_after
        assert end - plugin.exact <= minted.not_after <= end


async def test_each_authority_has_a_name_of_its_own_and_only_the_trust_domains_id(plugin: Plugin) -> None:
    made = [await minted_for(plugin, generate(KeyType.ECDSA_P256), KeyType.ECDSA_P256) for _ in range(3)]
    certificates = [x509.load_der_x509_certificate(one.certificate) for one in made]
    assert len({certificate.subject.public_bytes() for certificate in certificates}) == 3
    assert len({certificate.serial_number for certificate in certificates}) == 3
    for certificate in certificates:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert list(names) == [x509.UniformResourceIdentifier("spiffe://example.org")]


async def test_below_an_upstream_the_roots_stay_and_the_chain_starts_with_its_own(plugin: Plugin) -> None:
    first, second = [await minted_for(plugin, generate(KeyType.ECDSA_P256), KeyType.ECDSA_P256) for _ in range(2)]
    if plugin.source is None:
        assert (first.chain, first.roots) == ((), ())
        return
    assert first.roots == second.roots == plugin.source.issuer.roots
    assert first.chain == (first.certificate, *plugin.source.issuer.chain)
    assert not set(first.chain) & set(first.roots)


async def test_a_source_that_is_away_is_told_and_comes_back_by_itself(plugin: Plugin) -> None:
    if plugin.source is None:
        return
    key = generate(KeyType.ECDSA_P256)
    plugin.upstream.check()
    plugin.source.away = True
    with pytest.raises(AuthorityUnavailable, match="away"):
        plugin.upstream.check()
    with pytest.raises(AuthorityUnavailable, match="away"):
        await minted_for(plugin, key, KeyType.ECDSA_P256)
    plugin.source.away = False
    plugin.upstream.check()
    await minted_for(plugin, key, KeyType.ECDSA_P256)


async def test_a_key_that_does_not_sign_gets_nothing_that_could_be_used(plugin: Plugin) -> None:
    """Proof of possession, or the trial: somebody finds out."""
    ours, other = generate(KeyType.ECDSA_P256), generate(KeyType.ECDSA_P256)
    impostor = LocalSigner(other, ours.public_key())
    try:
        minted = await plugin.upstream.mint(impostor, KeyType.ECDSA_P256, TRUST_DOMAIN, LIFETIME, plugin.now)
    except Exception as error:  # noqa: BLE001
        assert "sign" in str(error)
        return
    with pytest.raises(AuthorityUnavailable):
        check_authority(
            SigningAuthority.open(signing(minted, ours, KeyType.ECDSA_P256, "x").authority, impostor),
            plugin.now,
            serials(),
        )

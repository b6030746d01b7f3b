"""What every key manager must do, wherever it has its keys. A new one joins the catalogue and is held to this."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from attestation.spiffe_id import SpiffeId
from ca.authority import AuthorityKind, SigningAuthority
from ca.checks import check_authority
from ca.csr import VerifiedCsr
from ca.errors import AuthorityUnavailable, CaError
from ca.intent import IssueRequest
from ca.jws import JwtAlgorithm, compact, parse, signing_input
from ca.jws import verify as verify_jws
from ca.jwt_svid import KEY_TYPES as JWT_KEY_TYPES
from ca.key_manager import KeyManager, KeyManagers
from ca.key_managers.transit_keys import KEY_TYPES
from ca.keys import KeyType, MlDsaPublicKey, PublicKey, generate, signature_hash, spki_der
from ca.profile import ProfileName
from ca.self_signed import self_signed_authority
from ca.signer import PSS, Scheme, Signer
from ca.upstreams.self_signed import SelfSignedUpstream
from sds.server.authority.maker import AuthorityMaker, AuthorityPolicy
from tests.contract.ca.conftest import Open
from tests.fakes.ca import TRUST_DOMAIN, issue_one, make_bundle_of, serial_source
from tests.fakes.clock import EPOCH, FakeClock

KINDS = {
    "wrapped": frozenset(KeyType),
    "pkcs11": frozenset(KeyType)
    & {KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.RSA_2048, KeyType.RSA_3072, KeyType.RSA_4096},
    "vault_transit": KEY_TYPES,
}
"""Which kinds of key a custodian makes."""


def verify(key: PublicKey, signature: bytes, message: bytes, scheme: Scheme = Scheme.X509) -> None:
    digest = signature_hash(key)
    if isinstance(key, rsa.RSAPublicKey):
        assert digest is not None
        key.verify(signature, message, PSS if scheme is Scheme.PSS_SHA256 else padding.PKCS1v15(), digest)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        assert digest is not None
        key.verify(signature, message, ec.ECDSA(digest))
    else:
        assert isinstance(key, ed25519.Ed25519PublicKey | MlDsaPublicKey)
        key.verify(signature, message)


def same(one: Signer, other: Signer) -> bool:
    return spki_der(one.public_key) == spki_der(other.public_key)


@pytest.mark.parametrize("key_type", KeyType)
async def test_a_key_signs_and_is_found_again_by_another_process(name: str, reopen: Open, key_type: KeyType) -> None:
    manager = await reopen()
    if key_type not in KINDS[name]:
        with pytest.raises(AuthorityUnavailable, match=key_type):
            await manager.generate(key_type, AuthorityKind.X509)
        return
    made = await manager.generate(key_type, AuthorityKind.X509)
    assert made.ref.startswith(f"{name}:")
    assert made.key_type is key_type
    verify(made.signer.public_key, made.signer.sign([b"before"])[0], b"before")
    assert same(await manager.signer(made.ref), made.signer)
    again = await (await reopen()).signer(made.ref)
    assert same(again, made.signer)
    messages = [b"one", b"", b"three" * 100_000]
    for message, signature in zip(messages, again.sign(messages), strict=True):
        verify(again.public_key, signature, message)
    assert again.sign([]) == []


@pytest.mark.parametrize("key_type", [KeyType.RSA_2048, KeyType.ECDSA_P256])
async def test_pss_is_for_rsa_keys_alone(manager: KeyManager, key_type: KeyType) -> None:
    signer = (await manager.generate(key_type, AuthorityKind.JWT)).signer
    if key_type is KeyType.ECDSA_P256:
        with pytest.raises(AuthorityUnavailable, match="only an RSA key"):
            signer.sign([b"message"], scheme=Scheme.PSS_SHA256)
        return
    one, two = signer.sign([b"one", b"two"], scheme=Scheme.PSS_SHA256)
    verify(signer.public_key, one, b"one", Scheme.PSS_SHA256)
    verify(signer.public_key, two, b"two", Scheme.PSS_SHA256)
    assert isinstance(signer.public_key, rsa.RSAPublicKey)
    with pytest.raises(InvalidSignature):
        signer.public_key.verify(one, b"one", padding.PKCS1v15(), hashes.SHA256())


async def test_each_key_is_another(manager: KeyManager) -> None:
    keys = [await manager.generate(KeyType.ECDSA_P256, kind) for kind in (*AuthorityKind, *AuthorityKind)]
    assert len({key.ref for key in keys}) == len({spki_der(key.signer.public_key) for key in keys}) == len(keys)


async def test_an_authority_lives_on_it(reopen: Open) -> None:
    """From its own certificate to a leaf; another process goes on with it."""
    manager = await reopen()
    key = await manager.generate(KeyType.ECDSA_P384, AuthorityKind.X509)
    record = await asyncio.to_thread(
        self_signed_authority,
        TRUST_DOMAIN,
        key.signer,
        key_ref=key.ref,
        key_type=key.key_type,
        serial=serial_source(),
        now=EPOCH,
        lifetime=timedelta(days=1),
    )
    manager = await reopen()
    authority = SigningAuthority.open(record.activated(EPOCH), await manager.signer(record.key_ref))
    await asyncio.to_thread(check_authority, authority, EPOCH, serial_source())
    csr = VerifiedCsr.of_own_key(generate(KeyType.ECDSA_P256))
    request = IssueRequest(ProfileName.WORKLOAD, SpiffeId.parse("spiffe://example.org/web"), csr)
    issued = await asyncio.to_thread(issue_one, request, authority)
    x509.load_der_x509_certificate(issued.chain[0]).verify_directly_issued_by(authority.certificate)
    assert make_bundle_of(authority).x509_authorities == (record.certificate,)


@pytest.mark.parametrize("algorithm", JWT_KEY_TYPES)
async def test_a_jwt_authority_lives_on_it(reopen: Open, algorithm: JwtAlgorithm) -> None:
    def maker(manager: KeyManager) -> AuthorityMaker:
        hour = timedelta(hours=1)
        policy = AuthorityPolicy(TRUST_DOMAIN, KeyType.ECDSA_P256, hour, timedelta(0), algorithm, hour)
        upstream = SelfSignedUpstream(serial_source, timedelta(0))
        return AuthorityMaker(manager, upstream, policy, serial_source, FakeClock())

    made = await maker(await reopen()).make(AuthorityKind.JWT)
    signing = await maker(await reopen()).open_jwt(made)
    unsigned = [signing_input({"alg": str(algorithm), "kid": made.id}, {"n": number}) for number in range(3)]
    signatures = await asyncio.to_thread(signing.sign, unsigned)
    for message, signature in zip(unsigned, signatures, strict=True):
        assert verify_jws(parse(compact(message, signature)), algorithm, signing.signer.public_key)


@pytest.mark.parametrize("ref", ["", ":", "vault:1", ":aa", "aa"])
async def test_references_of_others_are_refused(manager: KeyManager, ref: str) -> None:
    for call in (manager.signer, manager.forget):
        with pytest.raises(AuthorityUnavailable, match="is with key manager"):
            await call(ref)


@pytest.mark.parametrize("key_id", ["00" * 16, "", "zz", "../x", "0" * 10_000])
async def test_keys_that_there_are_not(name: str, manager: KeyManager, key_id: str) -> None:
    made = await manager.generate(KeyType.ECDSA_P256, AuthorityKind.X509)
    with pytest.raises(AuthorityUnavailable):
        await manager.signer(f"{name}:{key_id}")
    assert (await manager.signer(made.ref)).sign([b"m"])


async def test_what_is_forgotten_is_gone_and_only_that(reopen: Open) -> None:
    manager = await reopen()
    one, other = [await manager.generate(KeyType.ECDSA_P256, AuthorityKind.X509) for _ in range(2)]
    await manager.check([one.ref, other.ref])
    await manager.forget(one.ref)
    await manager.forget(one.ref)
    with pytest.raises(AuthorityUnavailable):
        await manager.signer(one.ref)
    with pytest.raises(AuthorityUnavailable):
        await manager.check([one.ref, other.ref])
    assert manager.problem(one.ref)
    assert manager.problem(other.ref) is None
    await manager.check([other.ref])
    manager = await reopen()
    with pytest.raises(AuthorityUnavailable):
        await manager.signer(one.ref)
    assert same(await manager.signer(other.ref), other.signer)


async def test_threads_sign_at_the_same_time(manager: KeyManager) -> None:
    signers = [(await manager.generate(KeyType.ECDSA_P256, AuthorityKind.X509)).signer for _ in range(3)]

    def work(number: int) -> None:
        signer = signers[number % 3]
        messages = [f"{number}-{index}".encode() for index in range(20)]
        for message, signature in zip(messages, signer.sign(messages), strict=True):
            verify(signer.public_key, signature, message)

    with ThreadPoolExecutor(8) as pool:
        await asyncio.gather(*(asyncio.get_running_loop().run_in_executor(pool, work, number) for number in range(24)))


async def test_behind_the_composing_manager(name: str, manager: KeyManager) -> None:
    """New keys come from the chosen one, others by their reference; one that is not configured is named."""
    managers = KeyManagers({name: manager}, name)
    made = await managers.generate(KeyType.ECDSA_P256, AuthorityKind.X509)
    assert managers.name == name
    assert same(await managers.signer(made.ref), made.signer)
    await managers.check([made.ref])
    assert managers.problem(made.ref) is None
    for call in (managers.signer, managers.forget):
        with pytest.raises(AuthorityUnavailable, match="'transit', which is not configured"):
            await call("transit:1")
    assert "not configured" in (managers.problem("transit:1") or "")
    await managers.forget(made.ref)
    with pytest.raises(CaError):
        await managers.signer(made.ref)


async def test_nothing_shows_in_a_repr(manager: KeyManager) -> None:
    made = await manager.generate(KeyType.ECDSA_P256, AuthorityKind.X509)
    shown = repr(made) + repr(manager) + repr(vars(manager)) + str(made.signer)
    assert "PRIVATE" not in shown
    assert "7281" not in shown

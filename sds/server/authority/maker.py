"""Makes authorities: a key in custody, a certificate from the upstream where they sign certificates, and a trial."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import Authority, AuthorityKind, AuthorityState, SigningAuthority
from ca.chains.cross_sign import cross_signed_chain
from ca.checks import THROW_AWAY_PATH, check_authority
from ca.errors import AuthorityUnavailable, CaError
from ca.jws import JwtAlgorithm, compact, parse, signing_input, verify
from ca.jwt_svid import KEY_TYPES, JwtSigningAuthority, algorithm_for
from ca.key_manager import KeyManager, ManagedKey
from ca.keys import KeyType, spki_der
from ca.lifetime import Validity, floor_second
from ca.template import subject_key_id
from ca.upstream import Minted, UpstreamAuthority
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.revocation.lists import first_list
from sds.store.errors import StoreError
from sds.store.revocation.records import CrlRecord


@dataclass(frozen=True, slots=True)
class AuthorityPolicy:
    """What a new authority is like. The JWT authority's key type follows from its algorithm."""

    trust_domain: TrustDomain
    key_type: KeyType
    lifetime: timedelta
    backdate: timedelta
    jwt_algorithm: JwtAlgorithm = JwtAlgorithm.ES256
    jwt_lifetime: timedelta = timedelta(days=30)


class AuthorityMaker:
    """Implements sds.rotation.ports.Maker, and opens authorities with their keys."""

    def __init__(
        self,
        keys: KeyManager,
        upstream: UpstreamAuthority,
        policy: AuthorityPolicy,
        serial_source: Callable[[], int],
        clock: Clock,
    ) -> None:
        self._keys = keys
        self._upstream = upstream
        self._policy = policy
        self._serial_source = serial_source
        self._clock = clock
        self._log = get_logger(__name__)

    async def make(self, kind: AuthorityKind) -> Authority:
        """Raises CaError, StoreError; a key that then belongs to nothing is destroyed."""
        policy = self._policy
        if kind is AuthorityKind.X509:
            self._upstream.check()  # else a key is made and destroyed, on record, each time this is tried
        key_type = policy.key_type if kind is AuthorityKind.X509 else KEY_TYPES[policy.jwt_algorithm]
        key = await self._keys.generate(key_type, kind)
        try:
            return await (self._make_x509(key) if kind is AuthorityKind.X509 else self._make_jwt(key))
        except CaError:
            await self._destroy(key.ref)
            raise

    async def first_crl(self, made: Authority) -> CrlRecord | None:
        """Raises CaError; the key is then destroyed."""
        if made.kind is not AuthorityKind.X509:
            return None
        try:
            return await asyncio.to_thread(first_list, await self.open_x509(made), self._clock.now())
        except CaError:
            await self._destroy(made.key_ref)
            raise

    async def check(self, authority: Authority) -> None:
        if authority.kind is AuthorityKind.X509:
            signing = await self.open_x509(authority)
            await asyncio.to_thread(check_authority, signing, self._clock.now(), self._serial_source())
        else:
            await asyncio.to_thread(_check_jwt, await self.open_jwt(authority))

    async def cross_sign(self, new: Authority, old: Authority) -> tuple[bytes, ...]:
        signing, now = await self.open_x509(old), self._clock.now()
        return await asyncio.to_thread(cross_signed_chain, new, signing, self._serial_source(), now)

    async def forget(self, authority: Authority) -> None:
        await self._destroy(authority.key_ref)

    async def open_x509(self, authority: Authority) -> SigningAuthority:
        """With its key. Raises CaError."""
        return SigningAuthority.open(authority, await self._keys.signer(authority.key_ref))

    async def open_jwt(self, authority: Authority) -> JwtSigningAuthority:
        """With its key. Raises CaError."""
        algorithm = algorithm_for(authority.key_type, self._policy.jwt_algorithm)
        return JwtSigningAuthority.open(authority, await self._keys.signer(authority.key_ref), algorithm)

    async def _make_x509(self, key: ManagedKey) -> Authority:
        policy, now = self._policy, self._clock.now()
        minted = await self._upstream.mint(key.signer, key.key_type, policy.trust_domain, policy.lifetime, now)
        made = self._authority(key, AuthorityKind.X509, Validity(minted.not_before, minted.not_after), minted)
        await self.check(made)
        return made

    async def _make_jwt(self, key: ManagedKey) -> Authority:
        policy, now = self._policy, self._clock.now()
        validity = Validity(floor_second(now - policy.backdate), floor_second(now + policy.jwt_lifetime))
        made = self._authority(key, AuthorityKind.JWT, validity, None)
        await self.check(made)
        return made

    def _authority(self, key: ManagedKey, kind: AuthorityKind, validity: Validity, minted: Minted | None) -> Authority:
        spki = spki_der(key.signer.public_key)
        return Authority(
            id=subject_key_id(spki).hex(),
            trust_domain=self._policy.trust_domain,
            kind=kind,
            state=AuthorityState.PREPARED,
            key_ref=key.ref,
            key_type=key.key_type,
            public_key=spki,
            certificate=b"" if minted is None else minted.certificate,
            not_before=validity.not_before,
            not_after=validity.not_after,
            created_at=self._clock.now(),
            chain=() if minted is None else minted.chain,
            roots=() if minted is None else minted.roots,
            upstream=self._upstream.name if minted is not None else "",
        )

    async def _destroy(self, key_ref: str) -> None:
        try:
            await self._keys.forget(key_ref)
        except (CaError, StoreError) as error:
            self._log.warning(
                "a key that no authority has any more could not be destroyed", key_ref=key_ref, reason=str(error)
            )


def _check_jwt(signing: JwtSigningAuthority) -> None:
    """Whether what it signs verifies. Raises AuthorityUnavailable.

    The token that it tries this with has neither audience nor expiry, so nobody could use it (JWT-SVID 3.2, 3.3).
    """
    authority = signing.authority
    header = {"alg": str(signing.algorithm), "kid": authority.id}
    unsigned = signing_input(header, {"sub": str(SpiffeId(authority.trust_domain, THROW_AWAY_PATH))})
    (signature,) = signing.sign([unsigned])
    if not verify(parse(compact(unsigned, signature)), signing.algorithm, signing.signer.public_key):
        raise AuthorityUnavailable(f"authority {authority.id} does not sign sound tokens")

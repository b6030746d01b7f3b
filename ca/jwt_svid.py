"""Issues JWT-SVIDs in two acts, as ca.issuer does certificates: `prepare` checks and builds, `issue` uses the key.

Between the two the caller stores the intents' audit events; a crash at any point leaves a record of what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from attestation.spiffe_id import SpiffeId
from ca.authority import Authority, AuthorityKind
from ca.bundle import JwtKey, TrustBundle
from ca.errors import AuthorityUnavailable, CaError, InvalidJwtSvid, IssuanceRefused
from ca.jws import MAX_TOKEN_BYTES, JwtAlgorithm, compact, raw_signature, signing_input
from ca.jwt_verify import validate
from ca.keys import KeyType, spki_der
from ca.lifetime import clamp
from ca.masked import Masked
from ca.once import Once, check_unspent
from ca.profile import ProfileName, check_identity
from ca.signer import Scheme, Signer

MAX_AUDIENCES = 16
"""JWT-SVID 3.2 recommends one: whoever gets a token can use it with every other audience in it."""
MAX_AUDIENCE_BYTES = 1024
MAX_ALL_AUDIENCES_BYTES = 4096
MAX_ISSUER_BYTES = 1024

KEY_TYPES: Mapping[JwtAlgorithm, KeyType] = {
    JwtAlgorithm.ES256: KeyType.ECDSA_P256,
    JwtAlgorithm.ES384: KeyType.ECDSA_P384,
    JwtAlgorithm.RS256: KeyType.RSA_2048,
    JwtAlgorithm.PS256: KeyType.RSA_2048,
}
"""What this CA signs tokens with, and the kind of key that it makes for each."""

_BY_KEY = {
    KeyType.ECDSA_P256: (JwtAlgorithm.ES256,),
    KeyType.ECDSA_P384: (JwtAlgorithm.ES384,),
    KeyType.RSA_2048: (JwtAlgorithm.RS256, JwtAlgorithm.PS256),
    KeyType.RSA_3072: (JwtAlgorithm.RS256, JwtAlgorithm.PS256),
    KeyType.RSA_4096: (JwtAlgorithm.RS256, JwtAlgorithm.PS256),
}


def algorithm_for(key_type: KeyType, wanted: JwtAlgorithm) -> JwtAlgorithm:
    """What a key of this kind signs tokens with: as `wanted` where it can, else by its own first algorithm.

    So an authority from before a change of the configuration goes on until it is rotated. Raises AuthorityUnavailable
    for a kind that signs no tokens (JWT-SVID 2.1).
    """
    possible = _BY_KEY.get(key_type, ())
    if not possible:
        raise AuthorityUnavailable(f"a key of the type {key_type} signs no JWT-SVIDs; use ES256, ES384, RS256 or PS256")
    return wanted if wanted in possible else possible[0]


@dataclass(frozen=True, slots=True)
class JwtSigningAuthority:
    """A JWT authority together with its key; made by `open`, which proves that the two belong together."""

    authority: Authority
    signer: Signer
    algorithm: JwtAlgorithm

    @classmethod
    def open(cls, authority: Authority, signer: Signer, algorithm: JwtAlgorithm) -> JwtSigningAuthority:
        """Raises AuthorityUnavailable if it signs no tokens, not by `algorithm`, or `signer` holds another key."""
        if authority.kind is not AuthorityKind.JWT:
            raise AuthorityUnavailable(f"authority {authority.id} signs no JWT-SVIDs")
        if algorithm not in _BY_KEY.get(authority.key_type, ()) or not algorithm.fits(signer.public_key):
            raise AuthorityUnavailable(f"the key of authority {authority.id} does not sign by {algorithm}")
        if spki_der(signer.public_key) != authority.public_key:
            raise AuthorityUnavailable(f"the key manager holds another key than authority {authority.id}'s")
        return cls(authority, signer, algorithm)

    @property
    def key(self) -> JwtKey:
        """What the trust bundle says of it."""
        return JwtKey(self.authority.id, self.authority.public_key, self.authority.not_after)

    def sign(self, messages: Sequence[bytes]) -> list[bytes]:
        """Signatures as JWS has them. Raises AuthorityUnavailable."""
        scheme = Scheme.PSS_SHA256 if self.algorithm is JwtAlgorithm.PS256 else Scheme.X509
        return [raw_signature(self.algorithm, made) for made in self.signer.sign(messages, scheme=scheme)]


@dataclass(frozen=True, slots=True)
class JwtPolicy:
    """The CA's limits on tokens. `issuer` is the `iss` claim, or empty for none (OIDC verifiers want one)."""

    default_ttl: timedelta = timedelta(minutes=5)
    min_ttl: timedelta = timedelta(seconds=30)
    max_ttl: timedelta = timedelta(hours=1)
    issuer: str = ""
    issuer_minimum: timedelta = timedelta(seconds=10)

    def __post_init__(self) -> None:
        if not timedelta(seconds=1) <= self.min_ttl <= self.default_ttl <= self.max_ttl:
            raise ValueError("JWT-SVID lifetimes: need 1s <= minimum <= default <= maximum")
        if len(self.issuer.encode()) > MAX_ISSUER_BYTES:
            raise ValueError(f"the issuer has more than {MAX_ISSUER_BYTES} bytes")

    def lifetime(self, wanted: timedelta | None) -> timedelta:
        """The lifetime to issue for: `wanted` or the default, cut to the maximum. Raises IssuanceRefused below the
        minimum; a longer wish is cut, because an entry made under a wider limit must not stop being served.
        """
        ttl = self.default_ttl if wanted is None else wanted
        if ttl < self.min_ttl:
            raise IssuanceRefused(
                f"a lifetime of {ttl.total_seconds():g}s is below the JWT-SVID minimum of "
                f"{self.min_ttl.total_seconds():g}s"
            )
        return min(ttl, self.max_ttl)


class JwtRequest(NamedTuple):
    """One token to issue. `ttl` None means the policy's default. The identity has been attested before."""

    spiffe_id: SpiffeId
    audience: tuple[str, ...]
    ttl: timedelta | None = None


class JwtIntent(NamedTuple):
    """The facts of a token, durable before the key is used. Times are aware UTC in whole seconds."""

    token_id: str
    spiffe_id: SpiffeId
    audience: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime
    authority_id: str
    algorithm: JwtAlgorithm


class IssuedJwtSvid(NamedTuple):
    """A finished token. Whoever has it is taken for its subject, so it is masked."""

    intent: JwtIntent
    token: Masked[str]


class PreparedJwt(Once):
    """A checked token that lacks its signature. It is signed at most once, and only by its own authority."""

    __slots__ = ("authority", "intent")

    def __init__(self, intent: JwtIntent, authority: JwtSigningAuthority, unsigned: bytes) -> None:
        super().__init__(unsigned)
        self.intent = intent
        self.authority = authority

    def __repr__(self) -> str:
        return f"PreparedJwt(token_id={self.intent.token_id}, spent={self.spent})"


class JwtIssuer:
    """Issues JWT-SVIDs of one trust domain. Calls may block on a remote key: use a worker thread then."""

    __slots__ = ("_holder", "_id_source", "_policy")

    def __init__(
        self, policy: JwtPolicy, id_source: Callable[[], str], holder: ProfileName = ProfileName.WORKLOAD
    ) -> None:
        """`id_source` gives a text for each token that no other has had (`jti`, RFC 7519 4.1.7). `holder`: whose tokens
        it issues; only an issuer for the server makes one with the server's own identity.
        """
        self._policy = policy
        self._id_source = id_source
        self._holder = holder

    def prepare(
        self, requests: Sequence[JwtRequest], authority: JwtSigningAuthority, now: datetime
    ) -> list[PreparedJwt | CaError]:
        """Check and build a batch; one answer for each request, in order. Uses no key.

        Answers are IssuanceRefused (the CA's limits) or AuthorityUnavailable (not active, or about to expire).
        """
        if not authority.authority.usable(now):
            gone = AuthorityUnavailable(f"authority {authority.authority.id} is not active now")
            return [gone for _ in requests]
        answers: list[PreparedJwt | CaError] = []
        for request in requests:
            try:
                answers.append(self._prepare(request, authority, now))
            except CaError as refusal:
                answers.append(refusal)
        return answers

    def issue(self, prepared: Sequence[PreparedJwt]) -> list[IssuedJwtSvid | CaError]:
        """Sign a batch whose intents are durable; one answer for each, in order.

        Raises AlreadyIssued, before any key is used, if one was signed before or comes twice. Answers are
        AuthorityUnavailable where the key failed, or InvalidJwtSvid where the first token of a batch does not say what
        was intended: then none of that authority's may leave.
        """
        check_unspent(prepared)
        answers: list[IssuedJwtSvid | CaError] = []
        for authority, batch in groupby(prepared, key=_AUTHORITY):
            answers.extend(_issue(authority, list(batch)))
        return answers

    def _prepare(self, request: JwtRequest, authority: JwtSigningAuthority, now: datetime) -> PreparedJwt:
        """Raises IssuanceRefused or AuthorityUnavailable."""
        facts, policy = authority.authority, self._policy
        check_identity(self._holder, facts.trust_domain, request.spiffe_id)
        audience = check_audience(request.audience)
        ttl = policy.lifetime(request.ttl)
        validity = clamp(now, ttl, facts.validity, backdate=timedelta(0), minimum=policy.issuer_minimum)
        intent = JwtIntent(
            self._id_source(),
            request.spiffe_id,
            audience,
            validity.not_before,
            validity.not_after,
            facts.id,
            authority.algorithm,
        )
        header = {"alg": str(authority.algorithm), "kid": facts.id, "typ": "JWT"}  # JWT-SVID 2
        unsigned = signing_input(header, _claims(intent, policy.issuer))
        if len(unsigned) > MAX_TOKEN_BYTES - 1024:  # room for the longest signature
            raise IssuanceRefused("the token would be too long: ask for fewer or shorter audiences")
        return PreparedJwt(intent, authority, unsigned)


def check_audience(requested: Sequence[str]) -> tuple[str, ...]:
    """The audience of a token, each value once, in one order for one set. Raises IssuanceRefused (JWT-SVID 3.2)."""
    if not requested:
        raise IssuanceRefused("a token needs an audience (JWT-SVID 3.2)")
    if len(requested) > MAX_AUDIENCES:
        raise IssuanceRefused(f"{len(requested)} audiences; at most {MAX_AUDIENCES} are allowed")
    total = 0
    for one in requested:
        size = len(one.encode(errors="surrogatepass"))
        total += size
        if not 0 < size <= MAX_AUDIENCE_BYTES or total > MAX_ALL_AUDIENCES_BYTES:
            raise IssuanceRefused(
                f"an audience has 1 to {MAX_AUDIENCE_BYTES} bytes, and all together {MAX_ALL_AUDIENCES_BYTES}"
            )
        if not one.isprintable() or one != one.strip():
            raise IssuanceRefused("an audience is printable text without blanks at its ends")
    return tuple(sorted(set(requested)))


_AUTHORITY = attrgetter("authority")


def _claims(intent: JwtIntent, issuer: str) -> dict[str, object]:
    """JWT-SVID 3. `aud` is always a list, which every reader of RFC 7519 4.1.3 takes."""
    claims: dict[str, object] = {
        "sub": str(intent.spiffe_id),
        "aud": list(intent.audience),
        "exp": int(intent.expires_at.timestamp()),
        "iat": int(intent.issued_at.timestamp()),
        "jti": intent.token_id,
    }
    return {"iss": issuer, **claims} if issuer else claims


def _issue(authority: JwtSigningAuthority, prepared: Sequence[PreparedJwt]) -> Sequence[IssuedJwtSvid | CaError]:
    unsigned = [item.take() for item in prepared]
    try:
        signatures = authority.sign(unsigned)
        tokens = [compact(part, signature) for part, signature in zip(unsigned, signatures, strict=True)]
        _check_issued(tokens[0], prepared[0].intent, authority)
    except (AuthorityUnavailable, InvalidJwtSvid) as error:
        return [error] * len(prepared)
    return [IssuedJwtSvid(item.intent, Masked(token)) for item, token in zip(prepared, tokens, strict=True)]


def _check_issued(token: str, intent: JwtIntent, authority: JwtSigningAuthority) -> None:
    """Read the first token of a batch as its audience would, with the published key. Raises InvalidJwtSvid.

    What the others have anew is JSON of checked values; a key that signs wrongly does so from the first one on.
    """
    trust_domain = authority.authority.trust_domain
    bundle = TrustBundle(trust_domain, (), jwt_keys=(authority.key,))
    read = validate(token, {trust_domain: bundle}, intent.audience[0], intent.issued_at, timedelta(0))
    said = (read.spiffe_id, read.audience, read.expires_at.astimezone(UTC), read.claims.get("jti"))
    if said != (intent.spiffe_id, intent.audience, intent.expires_at, intent.token_id):
        raise InvalidJwtSvid("a finished token does not say what was intended")

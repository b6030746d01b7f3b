"""Issuing in two acts: `prepare` checks and builds, `issue` is the only user of the key.

Between the two the caller stores the intents and their audit events in one transaction; a crash at any point leaves a
record of what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, lru_cache, partial
from itertools import groupby
from operator import attrgetter
from typing import NoReturn

from cryptography import x509

from attestation.spiffe_id import SpiffeId
from ca.authority import SigningAuthority
from ca.checks import check_issued, check_period, check_template
from ca.errors import AlreadyIssued, AuthorityUnavailable, CaError, CertificateMismatch
from ca.intent import CertificateIntent, IssuedCertificate, IssueRequest
from ca.lifetime import clamp
from ca.profile import IssuancePolicy, ProfileName, check_identity
from ca.serial import SERIAL_BITS, RandomSerials, serial_hex
from ca.template import LeafNames, LeafTemplate, ToBeSigned, sign_all

MAX_KNOWN_NAMES = 16_384
"""How many identities' names stay encoded: about 1 kB each."""

_SERIAL_END = 1 << SERIAL_BITS
_ONCE = "a prepared certificate is signed at most once; prepare a new one"


class Prepared:
    """A checked certificate that lacks its signature. It is signed at most once, and only by its own authority."""

    __slots__ = ("_unsigned", "authority", "intent")

    def __init__(self, intent: CertificateIntent, authority: SigningAuthority, unsigned: ToBeSigned) -> None:
        self.intent = intent
        self.authority = authority
        self._unsigned = unsigned

    @property
    def spent(self) -> bool:
        """Whether it has gone to the key."""
        return not hasattr(self, "_unsigned")

    def take(self) -> ToBeSigned:
        """Give out the unsigned certificate, once. Raises AlreadyIssued after that."""
        try:
            unsigned = self._unsigned
            del self._unsigned  # atomic: of two threads that got here, one fails
        except AttributeError:
            raise AlreadyIssued(_ONCE) from None
        return unsigned

    def __repr__(self) -> str:
        return f"Prepared(serial={self.intent.serial}, spent={self.spent})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a prepared certificate cannot be copied: it is signed at most once")


@dataclass(frozen=True, slots=True)
class _Period:
    """A validity that has been judged, and the template's encoding of it."""

    not_before: datetime
    not_after: datetime
    der: bytes


class _Desk:
    """What stays true between batches under one authority: its judged template, and who may have which names."""

    __slots__ = ("_policy", "_template", "fill", "names", "signing")

    def __init__(self, signing: SigningAuthority, policy: IssuancePolicy) -> None:
        """Raises AuthorityUnavailable if the authority's template does not say what is meant."""
        self.signing = signing
        self._policy = policy
        try:
            self._template = LeafTemplate(signing)
            check_template(self._template, signing)
        except (CertificateMismatch, x509.ExtensionNotFound) as error:
            problem = f"authority {signing.authority.id} does not issue sound certificates: {error}"
            raise AuthorityUnavailable(problem) from error
        self.fill = self._template.fill
        # Names follow from these arguments alone, which are values. Refusals are not kept.
        self.names = lru_cache(MAX_KNOWN_NAMES)(self._names)

    def _names(
        self, profile: ProfileName, spiffe_id: SpiffeId, requested_dns_names: tuple[str, ...], rsa_key: bool
    ) -> LeafNames:
        """Raises IssuanceRefused."""
        check_identity(profile, self.signing.authority.trust_domain, spiffe_id)
        dns_names = self._policy.profiles[profile].dns_names(requested_dns_names)
        return self._template.names(spiffe_id, dns_names, rsa_key=rsa_key)

    def period(self, now: datetime, profile: ProfileName, ttl: timedelta | None) -> _Period:
        """Raises IssuanceRefused, AuthorityUnavailable or CertificateMismatch."""
        policy = self._policy
        validity = clamp(
            now,
            policy.profiles[profile].lifetime(ttl),
            self.signing.authority.validity,
            backdate=policy.backdate,
            margin=policy.issuer_margin,
            minimum=policy.issuer_minimum,
        )
        check_period(validity, self.signing.authority)
        return _Period(validity.not_before, validity.not_after, self._template.period(validity))


class Issuer:
    """Issues leaves of one trust domain. Calls may block on a remote key: use a worker thread then."""

    __slots__ = ("_desk", "_policy", "_serial_source")

    def __init__(self, policy: IssuancePolicy, serial_source: Callable[[], int]) -> None:
        """`serial_source` gives positive numbers of at most 159 bits: ca.serial.RandomSerials over os.urandom."""
        self._policy = policy
        self._serial_source = serial_source
        self._desk: _Desk | None = None

    def prepare(
        self, requests: Sequence[IssueRequest], authority: SigningAuthority, now: datetime
    ) -> list[Prepared | CaError]:
        """Check and build a batch; one answer for each request, in order. Uses no key.

        Answers are IssuanceRefused (the CA's limits) or AuthorityUnavailable (not active, or about to expire).
        """
        try:
            desk = self._desk_for(authority, now)
        except AuthorityUnavailable as gone:
            return [gone for _ in requests]
        serials = self._serials(len(requests))
        period_of = cache(partial(desk.period, now))
        authority_id = authority.authority.id
        prepared: list[Prepared | CaError] = []
        for serial, (profile, spiffe_id, csr, dns_names, ttl) in zip(serials, requests, strict=True):
            try:
                names = desk.names(profile, spiffe_id, dns_names, csr.rsa_key)
                period = period_of(profile, ttl)
            except CaError as refusal:
                prepared.append(refusal)
                continue
            intent = CertificateIntent(  # by position: names would cost a third more
                serial_hex(serial),
                spiffe_id,
                profile,
                csr.key_hash,
                period.not_before,
                period.not_after,
                authority_id,
                names.dns_names,
            )
            prepared.append(Prepared(intent, authority, desk.fill(serial, period.der, csr, names)))
        return prepared

    def issue(self, prepared: Sequence[Prepared]) -> list[IssuedCertificate | CaError]:
        """Sign a batch whose intents are durable; one answer for each, in order.

        Raises AlreadyIssued, before any key is used, if one was signed before or comes twice. Answers are
        CertificateMismatch where the result is not what was intended: then none of that authority's may leave.
        """
        if any(item.spent for item in prepared) or len(set(prepared)) != len(prepared):
            raise AlreadyIssued(_ONCE)
        answers: list[IssuedCertificate | CaError] = []
        for authority, batch in groupby(prepared, key=_AUTHORITY):
            answers.extend(_issue(authority, list(batch)))
        return answers

    def _serials(self, count: int) -> Sequence[int]:
        source = self._serial_source
        serials = source.many(count) if isinstance(source, RandomSerials) else [source() for _ in range(count)]
        if serials and not 0 < min(serials) <= max(serials) < _SERIAL_END:
            raise ValueError("the serial source broke its promise: positive, at most 159 bits")
        return serials

    def _desk_for(self, signing: SigningAuthority, now: datetime) -> _Desk:
        """Raises AuthorityUnavailable."""
        if not signing.authority.usable(now):
            raise AuthorityUnavailable(f"authority {signing.authority.id} is not active now")
        desk = self._desk
        if desk is None or desk.signing != signing:
            desk = self._desk = _Desk(signing, self._policy)  # few authorities live at a time; the last one is enough
        return desk


_AUTHORITY = attrgetter("authority")


def _issue(authority: SigningAuthority, prepared: Sequence[Prepared]) -> Sequence[IssuedCertificate | CaError]:
    unsigned = [item.take() for item in prepared]
    try:
        leaves = sign_all(unsigned, authority.signer)
        check_issued(leaves[0], prepared[0].intent, authority)  # why the first is enough: ca.checks
    except (AuthorityUnavailable, CertificateMismatch) as error:
        return [error] * len(prepared)
    above = authority.authority.chain
    return [IssuedCertificate(item.intent, der, (der, *above)) for item, der in zip(prepared, leaves, strict=True)]

"""Issuing in two acts: `prepare` checks and builds, `issue` is the only user of the key.

Between the two the caller stores the intents and their audit events in one transaction; a crash at any point leaves a
record of what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, partial
from itertools import groupby
from operator import attrgetter

from cryptography import x509

from attestation.spiffe_id import SpiffeId
from ca import der
from ca.authority import SigningAuthority
from ca.checks import check_issued, check_period, check_template
from ca.csr import LeafKey
from ca.errors import AuthorityUnavailable, CaError, CertificateMismatch
from ca.intent import CertificateIntent, IssuedCertificate, IssueRequest
from ca.lifetime import clamp
from ca.once import Once, check_unspent
from ca.profile import IssuancePolicy, Profile, check_identity
from ca.serial import SERIAL_BITS, RandomSerials, serial_hex
from ca.template import LeafNames, LeafTemplate, ToBeSigned, sign_all

MAX_KNOWN_NAMES = 16_384
"""How many identities' names stay encoded: about 1 kB each."""

_SERIAL_END = 1 << SERIAL_BITS


class Prepared(Once):
    """A checked certificate that lacks its signature. It is signed at most once, and only by its own authority."""

    __slots__ = ("authority", "intent", "profile")

    def __init__(
        self, intent: CertificateIntent, authority: SigningAuthority, profile: Profile, unsigned: ToBeSigned
    ) -> None:
        self.intent = intent
        self.authority = authority
        self.profile = profile
        self._unsigned = unsigned  # as Once does it: a call would cost on the hot path

    def __repr__(self) -> str:
        return f"Prepared(serial={self.intent.serial}, spent={self.spent})"


@dataclass(frozen=True, slots=True)
class _Period:
    """A validity that has been judged, and the template's encoding of it."""

    not_before: datetime
    not_after: datetime
    der: bytes


@dataclass(frozen=True, slots=True)
class _Known:
    """What one identity may have, encoded: it follows from a request's values but for its time and its key's octets."""

    template: LeafTemplate
    names: LeafNames


_Key = tuple[str, str, str, tuple[str, ...], tuple[str, ...], str, LeafKey]
"""Profile, trust domain, path, DNS names, further names, subject, kind of key: strings, which hash quickest."""


class _Desk:
    """What stays true under one authority and one policy: its judged templates, and who may have which names."""

    __slots__ = ("_templates", "known", "policy", "signing")

    def __init__(self, signing: SigningAuthority, policy: IssuancePolicy) -> None:
        self.signing = signing
        self.policy = policy
        self._templates: dict[str, LeafTemplate] = {}
        self.known: dict[_Key, _Known] = {}

    def learn(self, key: _Key, spiffe_id: SpiffeId) -> _Known:
        """Judge and encode; the answer is kept, a refusal is not. Raises IssuanceRefused, AuthorityUnavailable."""
        profile_name, _, _, requested, extra_sans, subject, kind = key
        profile = self.policy.profile(profile_name)
        check_identity(profile.holder, self.signing.authority.trust_domain, spiffe_id)
        profile.check(requested, extra_sans, subject, kind)
        template = self._template(profile)
        names = template.names(spiffe_id, profile.dns_names(requested), extra_sans, subject, key=kind)
        if len(self.known) >= MAX_KNOWN_NAMES:
            self.known.clear()  # seldom, and what is needed comes again
        known = self.known[key] = _Known(template, names)
        return known

    def period(self, now: datetime, template: LeafTemplate, ttl: timedelta | None) -> _Period:
        """Raises IssuanceRefused, AuthorityUnavailable or CertificateMismatch."""
        policy = self.policy
        validity = clamp(
            now,
            template.profile.lifetime(ttl),
            self.signing.authority.validity,
            backdate=policy.backdate,
            margin=policy.issuer_margin,
            minimum=policy.issuer_minimum,
        )
        check_period(validity, self.signing.authority)
        return _Period(validity.not_before, validity.not_after, template.period(validity))

    def _template(self, profile: Profile) -> LeafTemplate:
        """Made and judged once. Raises AuthorityUnavailable if it does not say what is meant."""
        template = self._templates.get(profile.name)
        if template is None:
            try:
                template = LeafTemplate(self.signing, profile)
                check_template(template, self.signing, profile)
            except (CertificateMismatch, x509.ExtensionNotFound) as error:
                problem = f"authority {self.signing.authority.id} does not issue sound certificates: {error}"
                raise AuthorityUnavailable(problem) from error
            self._templates[profile.name] = template
        return template


class Issuer:
    """Issues leaves of one trust domain. Calls may block on a remote key: use a worker thread then."""

    __slots__ = ("_desk", "_policy", "_serial_source")

    def __init__(self, policy: IssuancePolicy, serial_source: Callable[[], int]) -> None:
        """`serial_source` gives positive numbers of at most 159 bits: ca.serial.RandomSerials over os.urandom."""
        self._policy = policy
        self._serial_source = serial_source
        self._desk: _Desk | None = None

    def use(self, policy: IssuancePolicy) -> None:
        """Prepare by other limits from now on. What is prepared already stays as it is."""
        self._policy = policy

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
        known_of = desk.known.get
        period_of = cache(partial(desk.period, now))
        authority_id = authority.authority.id
        prepared: list[Prepared | CaError] = []
        for (serial, digits), request in zip(self._serials(len(requests)), requests, strict=True):
            profile, spiffe_id, csr, dns_names, ttl, extra_sans, subject = request
            key = profile, spiffe_id.trust_domain.name, spiffe_id.path, dns_names, extra_sans, subject, csr.kind
            try:
                known = known_of(key) or desk.learn(key, spiffe_id)
                period = period_of(known.template, ttl)
            except CaError as refusal:
                prepared.append(refusal)
                continue
            intent = CertificateIntent(  # by position: names would cost a third more
                digits,
                spiffe_id,
                profile,
                csr.key_hash,
                period.not_before,
                period.not_after,
                authority_id,
                known.names.dns_names,
                extra_sans,
                subject,
            )
            unsigned = LeafTemplate.fill(serial, period.der, csr, known.names)
            prepared.append(Prepared(intent, authority, known.template.profile, unsigned))
        return prepared

    def issue(self, prepared: Sequence[Prepared]) -> list[IssuedCertificate | CaError]:
        """Sign a batch whose intents are durable; one answer for each, in order.

        Raises AlreadyIssued, before any key is used, if one was signed before or comes twice. Answers are
        CertificateMismatch where the result is not what was intended: then none of that authority's may leave.
        """
        check_unspent(prepared)
        answers: list[IssuedCertificate | CaError] = []
        for authority, batch in groupby(prepared, key=_AUTHORITY):
            answers.extend(_issue(authority, list(batch)))
        return answers

    def _serials(self, count: int) -> Sequence[tuple[bytes, str]]:
        """Each as DER and as it is written."""
        source = self._serial_source
        if isinstance(source, RandomSerials):
            return source.encoded(count)
        serials = [source() for _ in range(count)]
        if serials and not 0 < min(serials) <= max(serials) < _SERIAL_END:
            raise ValueError("the serial source broke its promise: positive, at most 159 bits")
        return [(der.integer(serial), serial_hex(serial)) for serial in serials]

    def _desk_for(self, signing: SigningAuthority, now: datetime) -> _Desk:
        """Raises AuthorityUnavailable."""
        if not signing.authority.usable(now):
            raise AuthorityUnavailable(f"authority {signing.authority.id} is not active now")
        desk, policy = self._desk, self._policy
        if desk is None or desk.policy is not policy or desk.signing != signing:
            desk = self._desk = _Desk(signing, policy)  # few authorities live at a time; the last one is enough
        return desk


_AUTHORITY = attrgetter("authority")
_PROFILE = attrgetter("profile.name")


def _issue(authority: SigningAuthority, prepared: Sequence[Prepared]) -> Sequence[IssuedCertificate | CaError]:
    unsigned = [item.take() for item in prepared]
    try:
        leaves = sign_all(unsigned, authority.signer)
        for first in _first_of_each_profile(prepared):  # why these are enough: ca.checks
            check_issued(leaves[first], prepared[first].intent, authority, prepared[first].profile)
    except (AuthorityUnavailable, CertificateMismatch) as error:
        return [error] * len(prepared)
    above = authority.authority.chain
    return [IssuedCertificate(item.intent, der, (der, *above)) for item, der in zip(prepared, leaves, strict=True)]


def _first_of_each_profile(prepared: Sequence[Prepared]) -> Iterable[int]:
    backwards = range(len(prepared) - 1, -1, -1)
    return dict(zip(map(_PROFILE, reversed(prepared)), backwards, strict=True)).values()

"""Issuing in two acts: `prepare` checks and builds, `issue` is the only user of the key (design rule 5).

Between the two the caller stores the intents and their audit events in one transaction; a crash at any point leaves a
record of what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import groupby
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority import SigningAuthority
from ca.checks import check_issued
from ca.errors import AlreadyIssued, AuthorityUnavailable, CaError, CertificateMismatch
from ca.intent import CertificateIntent, IssuedCertificate, IssueRequest
from ca.lifetime import clamp
from ca.profile import IssuancePolicy, check_identity
from ca.serial import SERIAL_BITS, serial_hex
from ca.template import LeafTemplate, Unsigned, sign_all

_ONCE = "a prepared certificate is signed at most once; prepare a new one"


class Prepared:
    """A checked certificate that lacks its signature. It is signed at most once, and only by its own authority."""

    __slots__ = ("_unsigned", "authority", "intent", "spki")

    def __init__(self, intent: CertificateIntent, authority: SigningAuthority, unsigned: Unsigned, spki: bytes) -> None:
        self.intent = intent
        self.authority = authority
        self.spki = spki
        self._unsigned = [unsigned]  # a list, because its pop is atomic: two threads cannot both take it

    @property
    def spent(self) -> bool:
        """Whether it has gone to the key."""
        return not self._unsigned

    def take(self) -> Unsigned:
        """Give out the unsigned certificate, once. Raises AlreadyIssued after that."""
        try:
            return self._unsigned.pop()
        except IndexError:
            raise AlreadyIssued(_ONCE) from None

    def __repr__(self) -> str:
        return f"Prepared(serial={self.intent.serial}, spent={self.spent})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a prepared certificate cannot be copied: it is signed at most once")


class Issuer:
    """Issues leaves of one trust domain. Calls may block on a remote key: use a worker thread then."""

    __slots__ = ("_policy", "_serial_source", "_templates")

    def __init__(self, policy: IssuancePolicy, serial_source: Callable[[], int]) -> None:
        """`serial_source` gives positive numbers of at most 159 bits, from ca.serial.random_serial over os.urandom."""
        self._policy = policy
        self._serial_source = serial_source
        self._templates: dict[str, LeafTemplate] = {}

    def prepare(
        self, requests: Sequence[IssueRequest], authority: SigningAuthority, now: datetime
    ) -> list[Prepared | CaError]:
        """Check and build a batch; one answer for each request, in order. Uses no key.

        Answers are IssuanceRefused (the CA's limits) or AuthorityUnavailable (not active, or about to expire).
        """
        if not authority.authority.usable(now):
            gone = AuthorityUnavailable(f"authority {authority.authority.id} is not active now")
            return [gone for _ in requests]
        template = self._template(authority)
        prepared: list[Prepared | CaError] = []
        for request in requests:
            try:
                prepared.append(self._prepare(request, authority, template, now))
            except CaError as refusal:
                prepared.append(refusal)
        return prepared

    def issue(self, prepared: Sequence[Prepared]) -> list[IssuedCertificate | CaError]:
        """Sign a batch whose intents are durable; one answer for each, in order.

        Raises AlreadyIssued, before any key is used, if one was signed before or comes twice. An answer is
        CertificateMismatch where the result is not what was intended: then it must not leave.
        """
        if any(item.spent for item in prepared) or len({id(item) for item in prepared}) != len(prepared):
            raise AlreadyIssued(_ONCE)
        answers: list[IssuedCertificate | CaError] = []
        for _, batch in groupby(prepared, key=lambda item: item.authority.authority.id):
            answers.extend(_issue(list(batch)))
        return answers

    def _prepare(
        self, request: IssueRequest, authority: SigningAuthority, template: LeafTemplate, now: datetime
    ) -> Prepared:
        policy = self._policy
        profile = policy.profiles[request.profile]
        check_identity(request.profile, authority.authority.trust_domain, request.spiffe_id)
        dns_names = profile.dns_names(request.dns_names)
        validity = clamp(
            now,
            profile.lifetime(request.ttl),
            authority.authority.validity,
            backdate=policy.backdate,
            margin=policy.issuer_margin,
            minimum=policy.issuer_minimum,
        )
        serial = self._serial_source()
        if not 0 < serial < 1 << SERIAL_BITS:
            raise ValueError("the serial source broke its promise: positive, at most 159 bits")
        intent = CertificateIntent(
            serial=serial_hex(serial),
            spiffe_id=request.spiffe_id,
            profile=request.profile,
            key_hash=request.csr.key_hash,
            not_before=validity.not_before,
            not_after=validity.not_after,
            authority_id=authority.authority.id,
            dns_names=dns_names,
        )
        unsigned = template.fill(serial, validity, request.csr, request.spiffe_id, dns_names)
        return Prepared(intent, authority, unsigned, request.csr.spki)

    def _template(self, authority: SigningAuthority) -> LeafTemplate:
        template = self._templates.get(authority.authority.id)
        if template is None:
            # Few authorities live at a time; the last one's template is enough.
            template = LeafTemplate(authority.authority.trust_domain, authority.certificate)
            self._templates = {authority.authority.id: template}
        return template


def _issue(prepared: Sequence[Prepared]) -> list[IssuedCertificate | CaError]:
    authority = prepared[0].authority
    unsigned = [item.take() for item in prepared]
    try:
        leaves = sign_all(unsigned, authority.signer)
    except AuthorityUnavailable as gone:
        return [gone for _ in prepared]
    return [_finish(item, leaf) for item, leaf in zip(prepared, leaves, strict=True)]


def _finish(item: Prepared, leaf: x509.Certificate) -> IssuedCertificate | CaError:
    der = leaf.public_bytes(Encoding.DER)
    try:
        check_issued(leaf, der, item.intent, item.authority, item.spki)
    except CertificateMismatch as mismatch:
        return mismatch
    return IssuedCertificate(item.intent, der, (der, *item.authority.authority.chain))

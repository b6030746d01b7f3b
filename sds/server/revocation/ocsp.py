"""Answers OCSP requests: what the database says of a certificate, signed by a key of this process.

Each authority certifies that key for a day or so (RFC 6960 section 4.2.2.2), also one that is tainted; the key itself
lives in memory only and dies with the process. So the authority's own key is used once a day, not by strangers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import Authority, AuthorityKind, SigningAuthority
from ca.errors import CaError
from ca.keys import KeyType, generate
from ca.lifetime import floor_second, renew_at
from ca.ocsp import certificate
from ca.ocsp.request import CertId, OcspRequest
from ca.ocsp.response import IssuerHashes, Known, Refusal, Responder, Status, respond
from ca.profile import SERVER_PATH
from ca.revocation import Reason, Revoked
from ca.serial import serial_hex
from ca.signer import LocalSigner, Signer
from sds.audit.event import Json, Outcome, Target
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.events import Events, rfc3339, system_actor
from sds.server.transactions import Transactions
from sds.store.errors import NotFound, StoreError
from sds.store.records import CertificateRecord
from sds.store.unit_of_work import UnitOfWork

_HALF = 0.5


class Slots(Protocol):
    """All authorities, and the keys of each."""

    def slots(self, kind: AuthorityKind | None = None) -> tuple[Authority, ...]: ...

    async def signer(self, authority: Authority) -> Signer:
        """Raises AuthorityUnavailable, or KeyUnwrapFailed."""
        ...


@dataclass(frozen=True, slots=True)
class OcspPolicy:
    """`validity`: for how long an answer holds. `certificate_ttl`: of the responder's own certificate."""

    trust_domain: TrustDomain
    validity: timedelta
    certificate_ttl: timedelta


@dataclass(frozen=True, slots=True)
class OcspAnswer:
    """`until` is None for a refusal, which holds for nothing."""

    der: bytes
    since: datetime
    until: datetime | None = None


class OcspService:
    """One for each process; replicas have keys of their own."""

    def __init__(
        self,
        store: Transactions,
        authorities: Slots,
        events: Events,
        policy: OcspPolicy,
        serial_source: Callable[[], int],
        clock: Clock,
    ) -> None:
        self._store = store
        self._authorities = authorities
        self._events = events
        self._policy = policy
        self._serial_source = serial_source
        self._clock = clock
        self._key: LocalSigner | None = None
        self._issuers: dict[str, tuple[bytes, IssuerHashes]] = {}
        self._responders: dict[str, Responder] = {}
        self._one_at_a_time = asyncio.Lock()
        self._log = get_logger(__name__)

    async def answer(self, request: OcspRequest) -> OcspAnswer:
        """1. Whose certificates are asked for: the first authority that one of them names. Its responder can speak of
        no other's (RFC 6960 section 4.2.2.2), so those are unknown to it. 2. What stands in the database. 3. Sign.

        Raises nothing: what cannot be answered is a refusal.
        """
        now = floor_second(self._clock.now())
        authority = self._issuer_of(request, now)  # 1
        if authority is None:
            return OcspAnswer(Refusal.UNAUTHORIZED.der, now)
        try:
            responder = await self._responder(authority, now)
            statuses = await self._store.read(lambda uow: self._statuses(uow, request, authority))  # 2
            until = min(now + self._policy.validity, responder.not_after)
            der = respond(responder, statuses, nonce=request.nonce, now=now, next_update=until)  # 3
        except (CaError, StoreError) as error:
            self._log.warning("an OCSP request could not be answered", authority_id=authority.id, reason=str(error))
            return OcspAnswer(Refusal.TRY_LATER.der, now)
        return OcspAnswer(der, now, until)

    async def staple(self, authority_id: str, serial: str) -> OcspAnswer | None:
        """An answer about one certificate, to be stapled; None where none can be had now."""
        authority = next((one for one in self._authorities.slots(AuthorityKind.X509) if one.id == authority_id), None)
        if authority is None:
            return None
        answer = await self.answer(OcspRequest((self._hashes(authority).cert_id(serial),)))
        return None if answer.until is None else answer

    def _issuer_of(self, request: OcspRequest, now: datetime) -> Authority | None:
        known = [
            one
            for one in self._authorities.slots(AuthorityKind.X509)
            if one.validity.covers(now) and one.not_after > now
        ]
        for cert_id in request.cert_ids:
            for authority in known:
                if self._hashes(authority).issued(cert_id):
                    return authority
        return None

    def _hashes(self, authority: Authority) -> IssuerHashes:
        """Hashing is cheap, reading the certificate's name is not."""
        found = self._issuers.get(authority.id)
        if found is None or found[0] != authority.certificate:
            hashes = IssuerHashes.of_certificate(authority.id, authority.certificate)
            found = self._issuers[authority.id] = (authority.certificate, hashes)
            alive = {one.id for one in self._authorities.slots()}
            self._issuers = {name: one for name, one in self._issuers.items() if name in alive}
            self._responders = {name: one for name, one in self._responders.items() if name in alive}
        return found[1]

    def _statuses(self, uow: UnitOfWork, request: OcspRequest, authority: Authority) -> list[tuple[CertId, Status]]:
        ours = {one.serial for one in request.cert_ids if one.serial and self._hashes(authority).issued(one)}
        revoked = uow.revocations.find(ours)
        recorded = {serial for serial in ours if _issued(uow, serial, authority.id)}

        def status(cert_id: CertId) -> Status:
            if cert_id.serial not in ours:
                return Known.UNKNOWN
            found = revoked.get(cert_id.serial)
            if found is not None and found.authority_id == authority.id:
                return Revoked(found.serial, found.revoked_at, found.reason)
            if authority.revoked:
                return Revoked(cert_id.serial, authority.retired_at or authority.not_before, Reason.CA_COMPROMISE)
            return Known.GOOD if cert_id.serial in recorded else Known.UNKNOWN

        return [(cert_id, status(cert_id)) for cert_id in request.cert_ids]

    async def _responder(self, authority: Authority, now: datetime) -> Responder:
        """The one that answers for this authority; made, or made anew at half of its life. Raises CaError, StoreError.

        While it is still good, a failure to replace it is only logged.
        """
        standing = self._responders.get(authority.id)
        if standing is not None and now < renew_at(standing.not_before, standing.not_after, _HALF):
            return standing
        async with self._one_at_a_time:
            again = self._responders.get(authority.id)
            if again is not None and again is not standing:
                return again
            try:
                made = self._responders[authority.id] = await self._certify(authority, now)
            except (CaError, StoreError) as error:
                if standing is None or now >= standing.not_after:
                    raise
                self._log.warning("the OCSP responder's certificate could not be renewed", reason=str(error))
                return standing
        return made

    async def _certify(self, authority: Authority, now: datetime) -> Responder:
        """The intent and its event are durable before the authority's key signs; then what was signed is recorded."""
        signing = SigningAuthority.open(authority, await self._authorities.signer(authority))
        key = self._key = self._key or LocalSigner.of(await asyncio.to_thread(generate, KeyType.ECDSA_P256))
        prepared = certificate.prepare(
            signing, key, serial=self._serial_source(), now=now, lifetime=self._policy.certificate_ttl
        )
        serial = serial_hex(prepared.serial)
        await self._store.write(lambda uow: self._intend(uow, prepared, authority))
        try:
            responder = await asyncio.to_thread(certificate.issue, prepared, signing, key)
        except CaError as error:
            await self._record_failure(serial, str(error))
            raise
        await self._store.write(lambda uow: uow.certificates.mark_issued([(serial, responder.certificate)]))
        self._log.info("an authority certified the OCSP responder", authority_id=authority.id, serial=serial)
        return responder

    async def _record_failure(self, serial: str, reason: str) -> None:
        """The intent stands and nothing was signed for it."""
        target = Target("certificate", serial)
        event = self._events.make(
            self._clock.now(), "certificate.issue", system_actor(), target, outcome=Outcome.FAILURE, reason=reason
        )
        await self._store.write(lambda uow: uow.audit.append(event))

    def _intend(self, uow: UnitOfWork, prepared: certificate.ResponderCertificate, authority: Authority) -> None:
        record = CertificateRecord(
            serial=serial_hex(prepared.serial),
            spiffe_id=SpiffeId(self._policy.trust_domain, SERVER_PATH),
            key_hash=prepared.key_hash,
            profile=certificate.PROFILE,
            authority_id=authority.id,
            not_before=prepared.validity.not_before,
            not_after=prepared.validity.not_after,
            requested_at=uow.now,
        )
        uow.certificates.add_intents([record])
        details: dict[str, Json] = {
            "profile": record.profile,
            "key_hash": record.key_hash,
            "not_before": rfc3339(record.not_before),
            "not_after": rfc3339(record.not_after),
            "authority_id": authority.id,
        }
        target = Target("certificate", record.serial)
        uow.audit.append(self._events.make(uow.now, "certificate.issue", system_actor(), target, details=details))


def _issued(uow: UnitOfWork, serial: str, authority_id: str) -> bool:
    """Whether this authority has issued it, or meant to."""
    try:
        return uow.certificates.get(serial).authority_id == authority_id
    except NotFound:
        return False

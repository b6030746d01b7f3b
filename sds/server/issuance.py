"""Issuing one certificate in two acts with its record: for agents and for the server itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from attestation.spiffe_id import SpiffeId
from ca.authority import SigningAuthority
from ca.errors import CaError
from ca.intent import CertificateIntent, IssuedCertificate, IssueRequest
from ca.issuer import Issuer
from sds.audit.event import Actor
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.authorized import check_authority
from sds.server.events import Events
from sds.server.revocation.blocked import refuse_blocked
from sds.server.stages import Passing, Stage, unwatched
from sds.server.transactions import Transactions
from sds.store.errors import StoreError
from sds.store.records import NO_PROCESS, CertificateRecord, ProcessRecord
from sds.store.unit_of_work import UnitOfWork


class SigningAuthorities(Protocol):
    """Who signs now."""

    def signing(self) -> SigningAuthority:
        """Raises AuthorityUnavailable."""
        ...


class IssuanceObserver(Protocol):
    """Counts certificates by profile and outcome: success, refused or failure."""

    def issued(self, profile: str, outcome: str) -> None: ...


class Issuance:
    """One certificate at a time; SignX509Svids has its own path in batches (signing.py)."""

    def __init__(
        self,
        store: Transactions,
        issuer: Issuer,
        authorities: SigningAuthorities,
        events: Events,
        clock: Clock,
        observer: IssuanceObserver,
        passing: Passing = unwatched,
    ) -> None:
        self._passing = passing
        self._store = store
        self._issuer = issuer
        self._authorities = authorities
        self._events = events
        self._clock = clock
        self._observer = observer
        self._log = get_logger(__name__)

    async def issue(
        self,
        request: IssueRequest,
        actor: Actor,
        request_id: str,
        decide: Callable[[UnitOfWork, CertificateIntent], None],
    ) -> IssuedCertificate:
        """Issue `request`. Raises CaError, StoreError, or what `decide` raises.

        1. Check and build. 2. In one transaction: `decide` (what the certificate follows from), the intent, its event.
        3. Sign and check. 4. Record what was signed. Nothing leaves before all four.
        """
        now = self._clock.now()
        authority = self._authorities.signing()
        (prepared,) = await asyncio.to_thread(self._issuer.prepare, [request], authority, now)
        if isinstance(prepared, CaError):
            self._observer.issued(str(request.profile), "refused")
            raise prepared
        intent = prepared.intent

        def record(uow: UnitOfWork) -> None:
            decide(uow, intent)  # first: what it locks is locked before authorities everywhere
            check_authority(uow, intent.authority_id)
            refuse_blocked(uow, intent.spiffe_id, intent.key_hash)
            uow.certificates.add_intents([intent_record(intent, uow.now)])
            uow.audit.append(self._events.certificate(uow.now, intent, actor, request_id))

        await self._store.write(record)
        self._passing(Stage.INTENDED)
        (answer,) = await asyncio.to_thread(self._issuer.issue, [prepared])
        if isinstance(answer, CaError):
            self._observer.issued(str(request.profile), "failure")
            await self._record_failure(intent, actor, request_id, answer)
            raise answer
        issued = answer
        self._passing(Stage.SIGNED)
        await self._store.write(lambda uow: uow.certificates.mark_issued([(intent.serial, issued.der)]))
        self._passing(Stage.RECORDED)
        self._observer.issued(str(request.profile), "success")
        return issued

    async def _record_failure(self, intent: CertificateIntent, actor: Actor, request_id: str, error: CaError) -> None:
        """The intent stands and nothing was signed: the log says so, if it can be written."""
        self._log.error("signing failed", serial=intent.serial, spiffe_id=str(intent.spiffe_id), reason=str(error))
        event = self._events.unsigned(self._clock.now(), intent, actor, request_id, reason=str(error))
        try:
            await self._store.write(lambda uow: uow.audit.append(event))
        except StoreError as problem:
            self._log.error("audit event lost", action=event.action, problem=str(problem))


def intent_record(
    intent: CertificateIntent,
    now: datetime,
    *,
    entry: tuple[str, int] = ("", 0),
    agent_id: SpiffeId | None = None,
    process: ProcessRecord = NO_PROCESS,
) -> CertificateRecord:
    """The intent as it is stored."""
    return CertificateRecord(
        serial=intent.serial,
        spiffe_id=intent.spiffe_id,
        key_hash=intent.key_hash,
        profile=str(intent.profile),
        authority_id=intent.authority_id,
        not_before=intent.not_before,
        not_after=intent.not_after,
        requested_at=now,
        entry_id=entry[0],
        entry_revision=entry[1],
        agent_id=agent_id,
        process=process,
        dns_names=intent.dns_names,
    )

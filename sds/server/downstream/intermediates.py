"""Signing certificates for servers below this one, issued in two acts like any other certificate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import SigningAuthority
from ca.csr import VerifiedCsr, parse_csr
from ca.errors import AuthorityUnavailable, CaError, CsrRefused, IssuanceRefused
from ca.intent import CertificateIntent
from ca.serial import serial_hex
from ca.upstream import Minted
from ca.upstreams.issuing import PROFILE, Draft, Issuer, draft, path_length_below, sign
from sds.clock import Clock
from sds.logs import get_logger
from sds.net.limits import Rate, TokenBuckets
from sds.server.authorized import check_authority
from sds.server.downstream.lists import note_issuer
from sds.server.events import Events, agent_actor
from sds.server.identity import AgentCaller
from sds.server.issuance import IssuanceObserver, SigningAuthorities, intent_record
from sds.server.revocation.blocked import refuse_blocked
from sds.server.stages import Passing, Stage, unwatched
from sds.server.transactions import Transactions
from sds.store.errors import NotFound, StoreError
from sds.store.records import AgentRecord
from sds.store.unit_of_work import UnitOfWork

SHARE = Rate(per_second=1 / 30, burst=10)
"""Of one server. An authority needs one certificate in its life."""


class NotDownstream(Exception):
    """The caller is an agent, but none that was enrolled as a downstream server."""


class TooMany(Exception):
    """The caller has asked for too many; nothing was signed."""


class AgentTable(Protocol):
    def agent(self, agent_id: SpiffeId) -> AgentRecord | None: ...


@dataclass(frozen=True, slots=True)
class IntermediatePolicy:
    """`max_ttl` bounds what can be asked for. `path_length`: how many levels of servers may be below the next one."""

    trust_domain: TrustDomain
    default_ttl: timedelta
    max_ttl: timedelta
    path_length: int
    backdate: timedelta
    max_csr_bytes: int


class Intermediates:
    """Signs for downstream servers, and for nobody else."""

    def __init__(
        self,
        store: Transactions,
        agents: AgentTable,
        authorities: SigningAuthorities,
        policy: IntermediatePolicy,
        roots: Callable[[], tuple[bytes, ...]],
        serial_source: Callable[[], int],
        events: Events,
        clock: Clock,
        observer: IssuanceObserver,
        passing: Passing = unwatched,
    ) -> None:
        """`roots` are all certificates of the trust bundle, DER."""
        self._store = store
        self._agents = agents
        self._authorities = authorities
        self._policy = policy
        self._roots = roots
        self._serial_source = serial_source
        self._events = events
        self._clock = clock
        self._observer = observer
        self._passing = passing
        self._shares = TokenBuckets(SHARE)
        self._log = get_logger(__name__)

    async def sign(self, caller: AgentCaller, unverified_csr: bytes, ttl: timedelta | None) -> Minted:
        """A signing certificate for the key of `unverified_csr`.

        1. The caller is a downstream server and within its share. 2. The CSR is sound. 3. It is built within the limits
        of the configuration and of our own authority. 4. In one transaction: the caller, our authority and the key are
        still in order; the intent and its event. 5. It is signed and judged. 6. What was signed is recorded.

        Raises NotDownstream, TooMany, CaError, StoreError; then nothing leaves.
        """
        self._check(caller)  # 1
        try:
            csr = await self._parse(unverified_csr)  # 2
            now = self._clock.now()
            signing = self._authorities.signing()
            issuer = _issuer(signing, self._roots())
            serial = self._serial_source()
            wanted = self._draft(issuer, csr, serial, now, ttl)  # 3
        except CaError:
            self._observer.issued(PROFILE, "refused")
            raise
        intent = _intent(serial, csr, wanted, signing, self._policy.trust_domain)
        await self._store.write(lambda uow: self._intend(uow, caller, intent))  # 4
        self._passing(Stage.INTENDED)
        try:
            minted = await asyncio.to_thread(sign, issuer, wanted, now)  # 5
        except AuthorityUnavailable as error:
            self._observer.issued(PROFILE, "failure")
            await self._record_failure(intent, caller, error)
            raise
        self._passing(Stage.SIGNED)
        await self._store.write(lambda uow: uow.certificates.mark_issued([(intent.serial, minted.certificate)]))  # 6
        self._passing(Stage.RECORDED)
        self._observer.issued(PROFILE, "success")
        self._log.info("signed for a downstream server", agent=str(caller.agent_id), serial=intent.serial)
        return minted

    def _check(self, caller: AgentCaller) -> None:
        """The registry may be a moment behind; the transaction looks again."""
        record = self._agents.agent(caller.agent_id)
        if record is not None and not record.downstream:
            raise NotDownstream("this agent is no downstream server; enrol it with `sds token create --downstream`")
        if not self._shares.take(caller.agent_id, self._clock.monotonic()):
            raise TooMany("too many signing certificates were asked for; wait")

    async def _parse(self, unverified_csr: bytes) -> VerifiedCsr:
        if len(unverified_csr) > self._policy.max_csr_bytes:
            raise CsrRefused(f"CSR has {len(unverified_csr)} bytes; at most {self._policy.max_csr_bytes} are allowed")
        return await asyncio.to_thread(parse_csr, unverified_csr)

    def _draft(self, issuer: Issuer, csr: VerifiedCsr, serial: int, now: datetime, ttl: timedelta | None) -> Draft:
        policy = self._policy
        wanted = policy.default_ttl if ttl is None else ttl
        if wanted < timedelta(minutes=1):
            raise IssuanceRefused("a signing certificate lasts a minute at least")
        return draft(
            issuer,
            policy.trust_domain,
            csr.public_key,
            serial,
            now,
            min(wanted, policy.max_ttl),
            policy.backdate,
            path_length=policy.path_length,
        )

    def _intend(self, uow: UnitOfWork, caller: AgentCaller, intent: CertificateIntent) -> None:
        """Raises NotDownstream, AuthorityUnavailable, IssuanceRefused."""
        try:
            record = uow.agents.get(caller.agent_id)
        except NotFound:
            raise NotDownstream("this agent was deleted") from None
        if record.banned or record.attested_at > caller.issued_at or not record.downstream:
            raise NotDownstream("this agent is banned, has attested anew, or is no downstream server")
        note_issuer(uow, intent.not_after)
        check_authority(uow, intent.authority_id)
        refuse_blocked(uow, caller.agent_id, intent.key_hash)
        uow.certificates.add_intents([intent_record(intent, uow.now, agent_id=caller.agent_id)])
        actor = agent_actor(caller.agent_id, caller.address)
        uow.audit.append(self._events.certificate(uow.now, intent, actor, caller.request_id))

    async def _record_failure(self, intent: CertificateIntent, caller: AgentCaller, error: CaError) -> None:
        self._log.error("signing failed", serial=intent.serial, agent=str(caller.agent_id), reason=str(error))
        actor = agent_actor(caller.agent_id, caller.address)
        event = self._events.unsigned(self._clock.now(), intent, actor, caller.request_id, reason=str(error))
        try:
            await self._store.write(lambda uow: uow.audit.append(event))
        except StoreError as problem:
            self._log.error("audit event lost", action=event.action, problem=str(problem))


def _issuer(signing: SigningAuthority, roots: tuple[bytes, ...]) -> Issuer:
    authority = signing.authority
    length = path_length_below([signing.certificate])
    return Issuer(signing.certificate, signing.signer, authority.chain, roots, authority.validity, length)


def _intent(
    serial: int, csr: VerifiedCsr, wanted: Draft, signing: SigningAuthority, trust_domain: TrustDomain
) -> CertificateIntent:
    """A signing certificate names the trust domain itself (X509-SVID 3.2)."""
    return CertificateIntent(
        serial=serial_hex(serial),
        spiffe_id=trust_domain.id,
        profile=PROFILE,
        key_hash=csr.key_hash,
        not_before=wanted.validity.not_before,
        not_after=wanted.validity.not_after,
        authority_id=signing.authority.id,
        dns_names=(),
    )

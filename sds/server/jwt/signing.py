"""SignJwtSvids: what signing.py does, for tokens. They leave no record beside their audit event."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from attestation.entry import RegistrationEntry
from ca.errors import CaError
from ca.jwt_svid import IssuedJwtSvid, JwtIntent, JwtIssuer, JwtRequest, JwtSigningAuthority, PreparedJwt
from sds.server.authorized import NotSigned
from sds.server.events import Events
from sds.server.identity import AgentCaller
from sds.server.issuing.batch import Batch
from sds.server.jwt.events import token_issue, token_unsigned
from sds.server.signing import BatchSigner, Craft, Meant, Signed
from sds.store.records import ProcessRecord
from sds.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class JwtJob:
    """One item of a call. `process` is what the agent says of the workload: recorded, never trusted."""

    caller: AgentCaller
    entry_id: str
    unverified_audience: tuple[str, ...]
    process: ProcessRecord


JwtAnswer = Signed[IssuedJwtSvid] | NotSigned
TokenSigner = BatchSigner[JwtJob, JwtIntent, IssuedJwtSvid]
_Meant = Meant[JwtJob, JwtIntent]


class JwtAuthorities(Protocol):
    """Who signs tokens now."""

    def signing_jwt(self) -> JwtSigningAuthority:
        """Raises AuthorityUnavailable."""
        ...


class Tokens(Craft[JwtJob, JwtIntent, IssuedJwtSvid]):
    """`executor` runs what would hold up the event loop."""

    profile = "jwt"
    store_down = "the token could not be audited, so none was issued; try again later"
    recorded = False

    def __init__(self, issuer: JwtIssuer, authorities: JwtAuthorities, events: Events, executor: Executor) -> None:
        self._issuer = issuer
        self._authorities = authorities
        self._events = events
        self._executor = executor

    async def prepare(
        self, orders: Sequence[tuple[JwtJob, RegistrationEntry]], now: datetime
    ) -> Batch[JwtIntent, IssuedJwtSvid]:
        """Judge the audiences and build the tokens."""
        wanted = [
            JwtRequest(entry.spec.spiffe_id, job.unverified_audience, entry.spec.jwt_svid_ttl) for job, entry in orders
        ]
        loop, authority = asyncio.get_running_loop(), self._authorities.signing_jwt()
        prepared = await loop.run_in_executor(self._executor, self._issuer.prepare, wanted, authority, now)
        return _Batch(self._issuer, self._executor, prepared)

    def intend(self, uow: UnitOfWork, meant: Sequence[_Meant]) -> None:
        uow.audit.append_all(
            token_issue(
                self._events,
                uow.now,
                one.intent,
                one.actor,
                one.job.caller.request_id,
                entry=(one.entry.id, one.entry.revision),
                process=one.job.process,
            )
            for one in meant
        )

    def record(
        self, uow: UnitOfWork, signed: Sequence[IssuedJwtSvid], failed: Sequence[tuple[_Meant, CaError]]
    ) -> None:
        del signed
        for one, error in failed:
            request_id = one.job.caller.request_id
            uow.audit.append(
                token_unsigned(self._events, uow.now, one.intent, one.actor, request_id, reason=str(error))
            )


class _Batch:
    def __init__(self, issuer: JwtIssuer, executor: Executor, prepared: Sequence[PreparedJwt | CaError]) -> None:
        self._issuer = issuer
        self._executor = executor
        self._prepared = prepared
        self.intents: Sequence[JwtIntent | CaError] = [
            one.intent if isinstance(one, PreparedJwt) else one for one in prepared
        ]

    async def issue(self, chosen: Sequence[int]) -> Sequence[IssuedJwtSvid | CaError]:
        ready = [one for one in (self._prepared[place] for place in chosen) if isinstance(one, PreparedJwt)]
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._issuer.issue, ready)

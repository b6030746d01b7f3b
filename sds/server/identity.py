"""Which agent calls: known from its TLS certificate alone, and asked again on every call and on every live stream.

grpcio checks the chain when a connection opens and never again; it goes on serving a peer whose certificate has expired
or whose agent was banned since. So this check does not trust the connection.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Protocol, TypeVar

import grpc

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.errors import InvalidSvid
from ca.svid import X509Svid, parse_svid_pem
from sds.clock import Clock
from sds.net.limits import Rate, TokenBuckets
from sds.server.revocation.blocked import Blocked
from sds.server.rpc import Call, CallRefused
from sds.store.records import AgentRecord

K = TypeVar("K")
V = TypeVar("V")

_CACHED_LEAVES = 4096
_REFUSED_SECONDS = 2.0
BANNED = "this agent is banned"
REVOKED = "the client certificate was revoked; attest again"
NO_AGENT = "the client certificate is none that an agent has got since it was last attested"
_LOOKUPS = Rate(per_second=1.0, burst=10)
"""How often one SPIFFE ID can make us read the database before it is known."""


class AgentTable(Protocol):
    """The authorised state, as far as identity needs it."""

    @property
    def revision(self) -> int: ...

    @property
    def blocked(self) -> Blocked: ...

    def agent(self, agent_id: SpiffeId) -> AgentRecord | None: ...


class AgentLookup(Protocol):
    """The store's answers, for what the authorised state does not know yet."""

    async def agent(self, agent_id: SpiffeId) -> tuple[AgentRecord | None, int]:
        """The agent as it stands now, and the revision that this is true for."""
        ...

    async def issued(self, record: AgentRecord, serial: str) -> datetime | None:
        """When `serial` was issued to this agent since it was last attested; None if it was not."""
        ...


@dataclass(frozen=True, slots=True)
class AgentCaller:
    """An agent that has been checked. `issued_at` and `not_after` are its connection's certificate's.

    `since` is the revision from which on the authorised state knows this agent; it may be a moment behind.
    """

    agent_id: SpiffeId
    serial: str
    not_after: datetime
    issued_at: datetime
    since: int
    address: str
    peer: str
    request_id: str


class Unwelcome(CallRefused):
    """A sound certificate of this trust domain whose holder may not call: no agent, or a banned one."""

    def __init__(self, svid: X509Svid, message: str) -> None:
        super().__init__(grpc.StatusCode.PERMISSION_DENIED, message)
        self.svid = svid


class CallerCheck:
    """Turns a call into an AgentCaller, or refuses it.

    An agent may use any unexpired certificate that was issued to it since it was last attested, not only the newest:
    else an agent that never got the answer to a renewal would be locked out. Attesting anew ends them all, and so do
    a ban and a deletion.
    """

    def __init__(
        self,
        agents: AgentTable,
        lookup: AgentLookup,
        trust_domain: TrustDomain,
        clock: Clock,
        address_of: Callable[[str], str],
    ) -> None:
        self._agents = agents
        self._lookup = lookup
        self._trust_domain = trust_domain
        self._clock = clock
        self.address_of = address_of
        self._parse = lru_cache(maxsize=_CACHED_LEAVES)(parse_leaf)
        self._lookups = TokenBuckets(_LOOKUPS)
        self._earlier: OrderedDict[tuple[SpiffeId, str, datetime], datetime] = OrderedDict()
        self._refused: OrderedDict[tuple[SpiffeId, str], float] = OrderedDict()

    async def identify(self, call: Call) -> AgentCaller:
        """Who calls. Raises CallRefused; Unwelcome when the certificate is sound but not its holder.

        1. The leaf of the verified chain is an X.509-SVID of this trust domain.
        2. It has not expired since the handshake.
        3. Its SPIFFE ID is an agent's that has attested and is not banned.
        4. The certificate is one that this agent got since then (not a workload's whose entry bears an agent's ID).
        5. It was not revoked.
        """
        svid = self._parse(_peer_certificate(call.auth))  # 1
        if not svid.spiffe_id.member_of(self._trust_domain):
            raise CallRefused(grpc.StatusCode.UNAUTHENTICATED, "the client certificate is of another trust domain")
        _check_expiry(svid.not_after, self._clock.now())  # 2
        record, since = await self._agent(svid)
        if record.banned:  # 3
            raise Unwelcome(svid, BANNED)
        issued_at = await self._issued_at(record, svid)
        if issued_at is None:  # 4
            raise Unwelcome(svid, NO_AGENT)
        if svid.serial in self._agents.blocked.agent_serials:  # 5
            raise Unwelcome(svid, REVOKED)
        return AgentCaller(
            agent_id=svid.spiffe_id,
            serial=svid.serial,
            not_after=svid.not_after,
            issued_at=issued_at,
            since=since,
            address=self.address_of(call.peer),
            peer=call.peer,
            request_id=call.request_id,
        )

    def check(self, caller: AgentCaller) -> None:
        """Whether the caller may still speak, now. Raises CallRefused."""
        _check_expiry(caller.not_after, self._clock.now())
        record = self._agents.agent(caller.agent_id)
        if record is not None and record.banned:
            raise CallRefused(grpc.StatusCode.PERMISSION_DENIED, BANNED)
        if caller.serial in self._agents.blocked.agent_serials:
            raise CallRefused(grpc.StatusCode.PERMISSION_DENIED, REVOKED)
        if record is None and self._agents.revision < caller.since:
            return
        if record is None or record.attested_at > caller.issued_at:
            raise CallRefused(grpc.StatusCode.PERMISSION_DENIED, "this agent was deleted, or has attested anew")

    async def _agent(self, svid: X509Svid) -> tuple[AgentRecord, int]:
        """The agent from memory, or from the store: another replica may have attested it a moment ago."""
        record, since = self._agents.agent(svid.spiffe_id), 0
        if record is None:
            self._before_lookup(svid)
            record, since = await self._lookup.agent(svid.spiffe_id)
        if record is None:
            self._remember_refused(svid)
            raise Unwelcome(svid, NO_AGENT)
        return record, since

    async def _issued_at(self, record: AgentRecord, svid: X509Svid) -> datetime | None:
        """When the agent got this certificate, if it did so since it was last attested."""
        if svid.serial == record.serial:
            return record.renewed_at or record.attested_at
        key = (svid.spiffe_id, svid.serial, record.attested_at)
        if key in self._earlier:
            return self._earlier[key]
        self._before_lookup(svid)
        issued_at = await self._lookup.issued(record, svid.serial)
        if issued_at is None:
            self._remember_refused(svid)
        else:
            _put(self._earlier, key, issued_at)
        return issued_at

    def _before_lookup(self, svid: X509Svid) -> None:
        """Bound what strangers cost: the database is not asked again for who was refused a moment ago."""
        now = self._clock.monotonic()
        if now < self._refused.get((svid.spiffe_id, svid.serial), now):
            raise Unwelcome(svid, NO_AGENT)
        if not self._lookups.take(svid.spiffe_id, now):
            raise CallRefused(
                grpc.StatusCode.UNAVAILABLE, "too many calls by an agent that is not known yet; try again"
            )

    def _remember_refused(self, svid: X509Svid) -> None:
        until = self._clock.monotonic() + _REFUSED_SECONDS
        _put(self._refused, (svid.spiffe_id, svid.serial), until)


def _put(table: OrderedDict[K, V], key: K, value: V) -> None:
    """Bounded: the oldest goes first."""
    table[key] = value
    if len(table) > _CACHED_LEAVES:
        table.popitem(last=False)


def parse_leaf(pem: bytes) -> X509Svid:
    """Read the leaf that the TLS stack has verified. Raises CallRefused."""
    try:
        return parse_svid_pem(pem.rstrip(b"\0"))
    except InvalidSvid as error:
        raise CallRefused(grpc.StatusCode.UNAUTHENTICATED, f"the client certificate is refused: {error}") from None


def _check_expiry(not_after: datetime, now: datetime) -> None:
    if now >= not_after:
        raise CallRefused(grpc.StatusCode.UNAUTHENTICATED, "the client certificate has expired")


def _peer_certificate(auth: Mapping[str, Iterable[bytes]]) -> bytes:
    for pem in auth.get("x509_pem_cert", ()):
        return pem
    raise CallRefused(grpc.StatusCode.UNAUTHENTICATED, "a client certificate is needed")

"""Who may have what signed: by the state in memory, and once more in the transaction that makes it durable."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId
from ca.errors import AuthorityUnavailable, CaError, CsrRefused
from sds.server.identity import AgentCaller
from sds.server.revocation.blocked import Blocked
from sds.store.errors import NotFound
from sds.store.unit_of_work import UnitOfWork


class SignCode(Enum):
    """Why an item was not signed (SignError.Code of the node protocol)."""

    NOT_AUTHORIZED = 1
    CSR_REFUSED = 2
    UNAVAILABLE = 3
    REFUSED = 4


@dataclass(frozen=True, slots=True)
class NotSigned:
    """`message` is safe to show."""

    code: SignCode
    message: str


_CODES = ((AuthorityUnavailable, SignCode.UNAVAILABLE), (CsrRefused, SignCode.CSR_REFUSED))
NOT_AUTHORIZED = NotSigned(SignCode.NOT_AUTHORIZED, "no such entry for this agent")
CHANGED = NotSigned(SignCode.UNAVAILABLE, "the entry has just changed; ask again")
BLOCKED_KEY = NotSigned(SignCode.CSR_REFUSED, "this key was revoked; make another one")
OVERLOADED = NotSigned(SignCode.UNAVAILABLE, "too many requests are waiting for a signature; try again later")
TOO_MANY_OF_ONE = NotSigned(
    SignCode.UNAVAILABLE, "too many requests of this agent are waiting for a signature; try again later"
)


class AuthorizedState(Protocol):
    """What agents may have, as the registry knows it."""

    @property
    def revision(self) -> int: ...

    @property
    def blocked(self) -> Blocked: ...

    def entry(self, entry_id: str) -> RegistrationEntry | None: ...


class Recheck:
    """The entries and agents of a batch as the transaction sees them, each read once.

    Needed when something was committed that the registry has not taken in: a moment after a change, on any replica.
    """

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow
        self._entries: dict[str, RegistrationEntry | None] = {}
        self._agents: dict[SpiffeId, bool] = {}
        self._blocked = Blocked.load(uow)

    def refusal(
        self, caller: AgentCaller, entry_id: str, seen: RegistrationEntry | None, key_hash: str = ""
    ) -> NotSigned | None:
        """Why `caller` may not have what was prepared for the entry as it was `seen`; None if it may.

        `key_hash` is that of the key that a certificate is for.
        """
        standing = self._entry(entry_id)
        if standing is None or standing.parent_id != caller.agent_id or not self._welcome(caller):
            return NOT_AUTHORIZED
        if self._blocked.entry(standing):
            return NOT_AUTHORIZED
        if self._blocked.key(key_hash):
            return BLOCKED_KEY
        if seen is None or standing.revision != seen.revision or not standing.live(self._uow.now):
            return CHANGED
        return None

    def _entry(self, entry_id: str) -> RegistrationEntry | None:
        if entry_id not in self._entries:
            try:
                self._entries[entry_id] = self._uow.entries.get(entry_id)
            except NotFound:
                self._entries[entry_id] = None
        return self._entries[entry_id]

    def _welcome(self, caller: AgentCaller) -> bool:
        if caller.agent_id not in self._agents:
            try:
                record = self._uow.agents.get(caller.agent_id)
            except NotFound:
                self._agents[caller.agent_id] = False
            else:
                welcome = not record.banned and record.attested_at <= caller.issued_at
                self._agents[caller.agent_id] = welcome and caller.serial not in self._blocked.agent_serials
        return self._agents[caller.agent_id]


def check_authority(uow: UnitOfWork, authority_id: str) -> None:
    """Whether the authority may still sign, as the transaction sees it: another replica may have tainted or retired it
    a moment ago. Raises AuthorityUnavailable.
    """
    try:
        usable = uow.authorities.hold(authority_id).usable(uow.now)
    except NotFound:
        usable = False
    if not usable:
        raise AuthorityUnavailable(f"authority {authority_id} has just been replaced; ask again")


def entry_for(state: AuthorizedState, caller: AgentCaller, entry_id: str, now: datetime) -> RegistrationEntry | None:
    """The entry, if it is live and this agent's. Whether it exists for others is none of the agent's business."""
    entry = state.entry(entry_id)
    return entry if entry is not None and entry.parent_id == caller.agent_id and entry.live(now) else None


def refused(error: CaError) -> NotSigned:
    """What the CA says, as an answer to the agent."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return NotSigned(code, str(error))
    return NotSigned(SignCode.REFUSED, str(error))

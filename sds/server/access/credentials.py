"""Credentials of callers of the network, checked against what stands now."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta

from sds.admin.access.api_token import PREFIX, ApiToken, is_genuine
from sds.admin.access.roles import Right
from sds.admin.login.ports import Known
from sds.admin.services import Caller, CallerKind
from sds.logs import get_logger
from sds.server.access.callers import caller_of, cookie_hash
from sds.server.access.oidc import Provider
from sds.server.access.rights import TOKEN, Rights, rights_of
from sds.server.access.svid import SvidCheck
from sds.server.transactions import Transactions
from sds.store.access.records import SessionRecord
from sds.store.errors import StoreError
from sds.store.unit_of_work import UnitOfWork

NOTE_USE = timedelta(minutes=5)
"""How coarsely the last use of a token is known: a write on every request would cost more than it tells."""
TOUCH = timedelta(minutes=1)

_log = get_logger(__name__)


class StoredCredentials:
    """Implements sds.admin.login.ports.Credentials."""

    def __init__(
        self, store: Transactions, rights: Rights, svids: SvidCheck, idle: timedelta, provider: Provider | None
    ) -> None:
        self._store = store
        self._rights = rights
        self._svids = svids
        self._idle = idle
        self._provider = provider

    async def bearer(self, unverified: str) -> Known | None:
        if unverified.startswith(PREFIX):
            known = await self._token(unverified)
        elif self._provider is not None:
            known = await self._of_provider(self._provider, unverified)
        else:
            known = None
        return known

    async def session(self, unverified_cookie: str) -> Known | None:
        """None, too, for one that has been idle for too long, and for one whose caller has no right left."""
        hashed = cookie_hash(unverified_cookie)

        def look(uow: UnitOfWork) -> tuple[SessionRecord, tuple[Right, ...], bool] | None:
            record = uow.admin_sessions.find(hashed)
            if record is None or uow.now - record.used_at >= self._idle:
                return None
            caller, subjects = caller_of(record.caller)
            rights = self._rights.standing(uow, caller.kind, caller.id, subjects)
            return record, rights, uow.now - record.used_at >= self._touch_every

        found = await self._store.read(look)
        if found is None:
            return None
        record, rights, stale = found
        if stale:
            await _noted(self._store.write(lambda uow: uow.admin_sessions.touch(hashed, self._touch_every)))
        caller, subjects = caller_of(record.caller)
        return Known(caller, rights, subjects, record.csrf, hashed)

    async def certificate(self, unverified_chain: tuple[bytes, ...]) -> Known | None:
        return await self._svids.known(unverified_chain)

    @property
    def _touch_every(self) -> timedelta:
        return min(TOUCH, self._idle / 10)

    async def _token(self, unverified: str) -> Known | None:
        """One path for all that looks like a token: looked up by its ID, compared in constant time, then its state."""
        token = ApiToken.parse(unverified)
        if token is None:
            return None

        def look(uow: UnitOfWork) -> tuple[Known, bool] | None:
            record = uow.api_tokens.find(token.id)
            genuine = is_genuine(token, None if record is None else record.hash)
            if record is None or not genuine or not record.live(uow.now):
                return None
            caller = Caller(CallerKind.TOKEN, f"{TOKEN}{record.id}", record.name)
            known = Known(caller, rights_of([record.right]), (caller.id, record.created_by))
            return known, record.last_used_at is None or uow.now - record.last_used_at >= NOTE_USE

        found = await self._store.read(look)
        if found is None:
            return None
        known, stale = found
        if stale:
            await _noted(self._store.write(lambda uow: uow.api_tokens.used(token.id, NOTE_USE)))
        return known

    async def _of_provider(self, provider: Provider, unverified: str) -> Known | None:
        identity = await provider.bearer(unverified)
        if identity is None:
            return None
        caller = Caller(CallerKind.OIDC, identity.subject, identity.name)
        return Known(caller, await self._rights.bound(identity.subjects), identity.subjects)


async def _noted(writing: Awaitable[None]) -> None:
    """An observation that cannot be written keeps nobody out."""
    try:
        await writing
    except StoreError as error:
        _log.warning("the use of credentials could not be noted", reason=str(error))

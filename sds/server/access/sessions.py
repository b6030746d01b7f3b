"""Logins and logouts of people. A session begins with a new secret each time, so that none can be put upon anybody."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ca.masked import Masked
from sds.admin.login.flow import Flow, authorization_url, own_path
from sds.admin.login.id_token import Identity, TokenRefused
from sds.admin.login.ports import Arrival, Begun, Credentials, Departure, Known, LoginRefused, NoRole
from sds.admin.services import AdminCall, Caller, CallerKind
from sds.audit.event import Json, Outcome, Target
from sds.server.access.callers import caller_text, cookie_hash
from sds.server.access.oidc import Provider, ProviderUnavailable
from sds.server.access.rights import TOKEN, Rights
from sds.server.services.common import Desk
from sds.store.access.records import SessionRecord
from sds.store.unit_of_work import UnitOfWork

SECRET_BYTES = 32
LOGIN_TIME = timedelta(minutes=10)
"""How long a login at the provider may take."""


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """`most`: sessions of one caller at once."""

    lifetime: timedelta = timedelta(hours=12)
    most: int = 10


class LoginService:
    """Implements sds.admin.login.ports.LoginAdmin. `random_bytes` must be fit for secrets (os.urandom)."""

    def __init__(
        self,
        desk: Desk,
        credentials: Credentials,
        rights: Rights,
        provider: Provider | None,
        policy: SessionPolicy,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._desk = desk
        self._credentials = credentials
        self._rights = rights
        self._provider = provider
        self._policy = policy
        self._random_bytes = random_bytes

    @property
    def provider(self) -> bool:
        return self._provider is not None and self._provider.options.client is not None

    async def with_token(self, call: AdminCall, unverified: str, former_cookie: str) -> Begun:
        known = await self._credentials.bearer(unverified)
        if known is None or known.caller.kind is not CallerKind.TOKEN:
            raise await self._refused(call, "the token is not known, or holds no more")
        return await self._begin(call, known, former_cookie)

    async def depart(self, call: AdminCall, then: str) -> Departure:
        if self._provider is None or self._provider.options.client is None:
            raise await self._refused(call, "logins at an OpenID provider are not configured")
        try:
            found = await self._provider.discovered()
        except ProviderUnavailable as error:
            raise await self._refused(call, str(error)) from None
        flow = Flow(Masked(self._random_bytes(SECRET_BYTES).hex()), own_path(then))
        location = authorization_url(found.authorization_endpoint, self._provider.options.client, flow)
        return Departure(location, flow.cookie, LOGIN_TIME)

    async def arrive(self, call: AdminCall, arrival: Arrival, former_cookie: str) -> tuple[Begun, str]:
        """1. The answer belongs to the login that this browser began (`state`; RFC 6749 section 10.12).

        2. It is the provider's, as far as it says so (`iss`; RFC 9207), and no error.
        3. The code is exchanged together with what only we know (PKCE), and the ID token is of this login (`nonce`).
        4. Who it names has a role here.
        """
        flow = Flow.parse(arrival.cookie)
        if flow is None or not hmac.compare_digest(arrival.state.encode(), flow.state.encode()):  # 1
            raise await self._refused(call, "the answer does not belong to a login of this browser")
        identity = await self._identify(call, arrival, flow)
        known = Known(
            Caller(CallerKind.OIDC, identity.subject, identity.name),
            await self._rights.bound(identity.subjects),
            identity.subjects,
        )
        if not known.rights:  # 4
            raise NoRole((await self._refused(call, "has no role", caller=known.caller)).why)
        return await self._begin(call, known, former_cookie), flow.then

    async def _identify(self, call: AdminCall, arrival: Arrival, flow: Flow) -> Identity:
        if self._provider is None:
            raise await self._refused(call, "logins at an OpenID provider are not configured")
        try:
            found = await self._provider.discovered()
            issuer = self._provider.options.issuer
            _check_answer(arrival, issuer, named=found.names_itself)  # 2
            return await self._provider.exchange(arrival.code, flow)  # 3
        except (TokenRefused, ProviderUnavailable) as error:
            raise await self._refused(call, str(error)) from None

    async def logout(self, call: AdminCall, cookie: str, *, everywhere: bool) -> None:
        hashed = cookie_hash(cookie)

        def work(uow: UnitOfWork) -> None:
            uow.admin_sessions.delete(hashed)
            ended = 1 + (uow.admin_sessions.delete_of(call.caller.id) if everywhere else 0)
            details: dict[str, Json] = {"sessions": ended, "everywhere": everywhere}
            uow.audit.append(self._desk.event(uow.now, call, "admin.logout", _of(call.caller), details))

        await self._desk.store.write(work)

    async def _begin(self, call: AdminCall, known: Known, former_cookie: str) -> Begun:
        """The former session of this browser ends, and the caller's least used ones beyond the bound."""
        cookie = Masked(self._random_bytes(SECRET_BYTES).hex())
        csrf = self._random_bytes(SECRET_BYTES).hex()
        hashed = cookie_hash(cookie.reveal())

        def work(uow: UnitOfWork) -> datetime:
            if former_cookie:
                uow.admin_sessions.delete(cookie_hash(former_cookie))
            others = uow.admin_sessions.of(known.caller.id)
            for each in others[: max(0, len(others) + 1 - self._policy.most)]:
                uow.admin_sessions.delete(each.hash)
            ends = self._end(uow, known.caller)
            text = caller_text(known.caller, known.subjects)
            uow.admin_sessions.create(SessionRecord(hashed, known.caller.id, text, csrf, uow.now, uow.now, ends))
            details: dict[str, Json] = {"by": known.caller.kind.value, "name": known.caller.name}
            who = _as(call, known.caller)
            uow.audit.append(self._desk.event(uow.now, who, "admin.login", _of(known.caller), details))
            return ends

        await self._desk.store.write(work)
        begun = Known(known.caller, known.rights, known.subjects, csrf, hashed)
        return Begun(cookie, begun, self._policy.lifetime)

    def _end(self, uow: UnitOfWork, caller: Caller) -> datetime:
        """A session never outlives the token that it was begun with."""
        ends = uow.now + self._policy.lifetime
        if caller.kind is CallerKind.TOKEN:
            return min(ends, uow.api_tokens.get(caller.id.removeprefix(TOKEN)).expires_at)
        return ends

    async def _refused(self, call: AdminCall, why: str, caller: Caller | None = None) -> LoginRefused:
        who = call if caller is None else _as(call, caller)

        def work(uow: UnitOfWork) -> None:
            uow.audit.append(
                self._desk.event(uow.now, who, "admin.login", _of(who.caller), outcome=Outcome.REFUSED, reason=why)
            )

        await self._desk.store.write(work)
        return LoginRefused(why)


def _as(call: AdminCall, caller: Caller) -> AdminCall:
    return AdminCall(Caller(caller.kind, caller.id, caller.name, call.caller.address), call.request_id)


def _of(caller: Caller) -> Target:
    return Target("session", caller.id)


def _check_answer(arrival: Arrival, issuer: str, *, named: bool) -> None:
    """RFC 9207 section 2.4; `named`: whether the provider says that it names itself. Raises TokenRefused."""
    if (arrival.issuer or named) and arrival.issuer != issuer:
        raise TokenRefused("the answer is of another provider")
    if arrival.error or not arrival.code:
        raise TokenRefused("the provider has refused the login")

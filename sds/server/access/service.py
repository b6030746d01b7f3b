"""API tokens and role bindings, for administrators."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from attestation.errors import InvalidSpiffeId
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.masked import Masked
from sds.admin.access.api_token import ID_BYTES, SECRET_BYTES, ApiToken
from sds.admin.access.granting import covers
from sds.admin.access.people import answerable
from sds.admin.access.roles import EVERYTHING, Binding, Right, Role
from sds.admin.errors import FieldProblem, Forbidden, InvalidInput
from sds.admin.services import AdminCall, CallerKind, Page
from sds.admin.services.access import AccessQuery, BindingOrder, CreatedToken, TokenInfo, TokenOrder
from sds.audit.event import Json, Target
from sds.durations import format_duration
from sds.server.access.rights import binding_of, record_of, right_of
from sds.server.events import rfc3339
from sds.server.services.common import Desk
from sds.store.access.records import ApiTokenRecord, BindingRecord
from sds.store.unit_of_work import UnitOfWork

MIN_TTL = timedelta(minutes=1)
MAX_SUBJECT = 2048
_UID = re.compile(r"uid:(0|[1-9][0-9]{0,9})", re.ASCII)
_GROUP = re.compile(r"group:.{1,255}")
_OIDC = re.compile(r"oidc:https?://[!-\"$-~]{1,1024}#.{1,512}")


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Bounds. `most`: tokens, and bindings, that there may be."""

    trust_domain: TrustDomain
    default_ttl: timedelta = timedelta(days=30)
    max_ttl: timedelta = timedelta(days=90)
    bootstrap_ttl: timedelta = timedelta(hours=1)
    most: int = 10_000


class AccessService:
    """Implements sds.admin.services.access.AccessAdmin. `random_bytes` must be fit for secrets (os.urandom)."""

    def __init__(
        self,
        desk: Desk,
        policy: AccessPolicy,
        random_bytes: Callable[[int], bytes],
        new_id: Callable[[], str],
    ) -> None:
        self._desk = desk
        self._policy = policy
        self._random_bytes = random_bytes
        self._new_id = new_id

    async def create_token(self, call: AdminCall, order: TokenOrder) -> CreatedToken:
        ttl = self._policy.default_ttl if order.ttl is None else order.ttl
        problems = []
        if not order.name or len(order.name) > 255 or not order.name.isprintable():
            problems.append(FieldProblem("name", "must be 1 to 255 printable characters"))
        if not MIN_TTL <= ttl <= self._policy.max_ttl:
            span = f"{format_duration(MIN_TTL)} to {format_duration(self._policy.max_ttl)}"
            problems.append(FieldProblem("ttl_seconds", f"this server allows {span}"))
        if problems:
            raise InvalidInput(problems)
        _check_given(call, order.right)
        return await self._create(call, order.name, order.right, ttl)

    async def bootstrap(self, call: AdminCall) -> CreatedToken:
        if call.caller.kind is not CallerKind.LOCAL:
            raise Forbidden("a bootstrap token is given out on the server's local socket alone")
        right = Right(Role.ADMIN, EVERYTHING)
        _check_given(call, right)
        return await self._create(call, "bootstrap", right, self._policy.bootstrap_ttl, bootstrap=True)

    async def _create(
        self, call: AdminCall, name: str, right: Right, ttl: timedelta, *, bootstrap: bool = False
    ) -> CreatedToken:
        token = ApiToken.make(self._random_bytes(ID_BYTES), Masked(self._random_bytes(SECRET_BYTES)))
        by = answerable(call.subjects, call.caller.id)

        def work(uow: UnitOfWork) -> CreatedToken:
            self._check_count(uow.api_tokens.count(), "name", "API tokens")
            for earlier in uow.api_tokens.live_bootstrap() if bootstrap else ():
                uow.api_tokens.revoke(earlier.id)
                self._note(uow, call, "access.token.revoke", _token_target(earlier), {"reason": "superseded"})
            record = ApiTokenRecord(
                token.id, token.hash, name, record_of(right), uow.now, by, uow.now + ttl, bootstrap=bootstrap
            )
            uow.api_tokens.create(record)
            details: dict[str, Json] = {"name": name, "expires_at": rfc3339(record.expires_at), **right_json(right)}
            self._note(uow, call, "access.token.create", _token_target(record), details)
            return CreatedToken(token.text, token_info(record))

        return await self._desk.store.write(work)

    async def tokens(self, query: AccessQuery) -> Page[TokenInfo]:
        page = await self._desk.store.read(
            lambda uow: uow.api_tokens.page(live=query.live, cursor=query.cursor, limit=query.limit)
        )
        return Page(tuple(map(token_info, page.items)), page.next_cursor)

    async def token(self, token_id: str) -> TokenInfo:
        return token_info(await self._desk.store.read(lambda uow: uow.api_tokens.get(token_id)))

    async def revoke_token(self, call: AdminCall, token_id: str) -> TokenInfo:
        def work(uow: UnitOfWork) -> TokenInfo:
            record = uow.api_tokens.revoke(token_id)
            self._note(uow, call, "access.token.revoke", _token_target(record), {"name": record.name})
            return token_info(record)

        return await self._desk.store.write(work)

    async def create_binding(self, call: AdminCall, order: BindingOrder) -> Binding:
        self._check_subject(order.subject)
        _check_given(call, order.right)
        binding_id = self._new_id()

        def work(uow: UnitOfWork) -> Binding:
            self._check_count(uow.role_bindings.count(), "subject", "role bindings")
            if order.expires_at is not None and order.expires_at <= uow.now:
                raise InvalidInput([FieldProblem("expires_at", "is past")])
            by = answerable(call.subjects, call.caller.id)
            record = BindingRecord(binding_id, order.subject, record_of(order.right), uow.now, by, order.expires_at)
            uow.role_bindings.create(record)
            self._note(uow, call, "access.binding.create", Target("binding", binding_id), _binding_json(record))
            return binding_of(record)

        return await self._desk.store.write(work)

    async def bindings(self, query: AccessQuery) -> Page[Binding]:
        page = await self._desk.store.read(
            lambda uow: uow.role_bindings.page(subject=query.subject, cursor=query.cursor, limit=query.limit)
        )
        return Page(tuple(map(binding_of, page.items)), page.next_cursor)

    async def binding(self, binding_id: str) -> Binding:
        return binding_of(await self._desk.store.read(lambda uow: uow.role_bindings.get(binding_id)))

    async def delete_binding(self, call: AdminCall, binding_id: str) -> Binding:
        def work(uow: UnitOfWork) -> Binding:
            record = uow.role_bindings.delete(binding_id)
            self._note(uow, call, "access.binding.delete", Target("binding", binding_id), _binding_json(record))
            return binding_of(record)

        return await self._desk.store.write(work)

    def _check_subject(self, subject: str) -> None:
        """Raises InvalidInput, which does not repeat it."""
        if len(subject) > MAX_SUBJECT or not subject.isprintable() or not self._is_subject(subject):
            what = "must be uid:N, a SPIFFE ID of this trust domain, oidc:ISSUER#SUBJECT or group:NAME"
            raise InvalidInput([FieldProblem("subject", what)])

    def _is_subject(self, subject: str) -> bool:
        if subject.startswith("spiffe://"):
            try:
                spiffe_id = SpiffeId.parse(subject)
            except InvalidSpiffeId:
                return False
            return bool(spiffe_id.path) and spiffe_id.member_of(self._policy.trust_domain)
        return any(form.fullmatch(subject) for form in (_UID, _GROUP, _OIDC))

    def _check_count(self, count: int, field: str, what: str) -> None:
        if count >= self._policy.most:
            raise InvalidInput([FieldProblem(field, f"there are {self._policy.most} {what} already")])

    def _note(self, uow: UnitOfWork, call: AdminCall, action: str, target: Target, details: dict[str, Json]) -> None:
        uow.audit.append(self._desk.event(uow.now, call, action, target, details))


def _check_given(call: AdminCall, right: Right) -> None:
    if not covers(call.rights, right):
        raise Forbidden("nobody can give more than they have: this role, or this scope, goes beyond your own")


def token_info(record: ApiTokenRecord) -> TokenInfo:
    return TokenInfo(
        record.id,
        record.name,
        right_of(record.right),
        record.created_at,
        record.created_by,
        record.expires_at,
        record.last_used_at,
        record.revoked_at,
        record.bootstrap,
    )


def right_json(right: Right) -> dict[str, Json]:
    """For audit events."""
    return {
        "role": right.role.value,
        "below": "" if right.scope.below is None else str(right.scope.below),
        "labels": dict(right.scope.labels),
    }


def _binding_json(record: BindingRecord) -> dict[str, Json]:
    expires = None if record.expires_at is None else rfc3339(record.expires_at)
    return {"subject": record.subject, "expires_at": expires, **right_json(right_of(record.right))}


def _token_target(record: ApiTokenRecord) -> Target:
    return Target("api_token", record.id)

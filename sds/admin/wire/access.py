"""Role bindings, API tokens and the caller as JSON."""

from __future__ import annotations

from types import MappingProxyType

from pydantic import Field

from sds.admin.access.roles import Binding, Right, Role, Scope
from sds.admin.services import AdminCall
from sds.admin.services.access import BindingOrder, CreatedToken, TokenInfo, TokenOrder
from sds.admin.wire.common import DurationField, Input, Output, SpiffeIdField, TextField, TimeField, TimeOut

MAX_LABELS = 64


class RightIn(Input):
    """A role, at or below a SPIFFE ID and with all of these labels; without either it holds for everything."""

    role: str = Field(
        json_schema_extra={"enum": [role.value for role in Role]}, pattern="^(viewer|auditor|operator|admin)$"
    )
    below: SpiffeIdField | None = None
    labels: dict[str, str] = Field(default_factory=dict, max_length=MAX_LABELS)

    def right(self) -> Right:
        labels = MappingProxyType(dict(sorted(self.labels.items())))
        return Right(Role(self.role), Scope(self.below, labels))


class ApiTokenIn(RightIn):
    """`ttl_seconds`: a number, or a text such as ``30d``."""

    name: TextField
    ttl_seconds: DurationField | None = None

    def order(self) -> TokenOrder:
        return TokenOrder(self.name, self.right(), self.ttl_seconds)


class BindingIn(RightIn):
    """`subject`: ``uid:N``, a SPIFFE ID, ``oidc:ISSUER#SUBJECT`` or ``group:NAME``."""

    subject: str = Field(max_length=2048)
    expires_at: TimeField | None = None

    def order(self) -> BindingOrder:
        return BindingOrder(self.subject, self.right(), self.expires_at)


class RightOut(Output):
    role: str
    below: str | None
    labels: dict[str, str]


class ApiTokenOut(RightOut):
    id: str
    name: str
    created_at: TimeOut
    created_by: str
    expires_at: TimeOut
    last_used_at: TimeOut | None
    revoked_at: TimeOut | None
    bootstrap: bool


class RevokedTokenOut(ApiTokenOut):
    """`dry_run`: nothing was done, and this is how it stands."""

    dry_run: bool


class CreatedTokenOut(ApiTokenOut):
    """`token` is shown here and never again."""

    token: str


class ApiTokenPage(Output):
    tokens: list[ApiTokenOut]
    next_cursor: str | None


class BindingOut(RightOut):
    id: str
    subject: str
    created_at: TimeOut
    created_by: str
    expires_at: TimeOut | None


class DeletedBindingOut(BindingOut):
    """What stood. `dry_run`: nothing was done, and it stands."""

    dry_run: bool


class BindingPage(Output):
    bindings: list[BindingOut]
    next_cursor: str | None


class WhoAmIOut(Output):
    """`kind`: how the caller proved who they are. `subjects`: what bindings may call them."""

    kind: str
    id: str
    name: str
    subjects: list[str]
    rights: list[RightOut]


def right_out(right: Right) -> RightOut:
    return RightOut.model_validate(_right(right))


def _right(right: Right) -> dict[str, object]:
    below = None if right.scope.below is None else str(right.scope.below)
    return {"role": right.role.value, "below": below, "labels": dict(right.scope.labels)}


def _token(info: TokenInfo) -> dict[str, object]:
    return {
        **_right(info.right),
        "id": info.id,
        "name": info.name,
        "created_at": info.created_at,
        "created_by": info.created_by,
        "expires_at": info.expires_at,
        "last_used_at": info.last_used_at,
        "revoked_at": info.revoked_at,
        "bootstrap": info.bootstrap,
    }


def token_out(info: TokenInfo) -> ApiTokenOut:
    return ApiTokenOut.model_validate(_token(info))


def revoked_out(info: TokenInfo, *, dry_run: bool) -> RevokedTokenOut:
    return RevokedTokenOut.model_validate({**_token(info), "dry_run": dry_run})


def created_out(created: CreatedToken) -> CreatedTokenOut:
    return CreatedTokenOut.model_validate({**_token(created.info), "token": created.token.reveal()})


def binding_out(binding: Binding) -> BindingOut:
    return BindingOut.model_validate(
        {
            **_right(binding.right),
            "id": binding.id,
            "subject": binding.subject,
            "created_at": binding.created_at,
            "created_by": binding.created_by,
            "expires_at": binding.expires_at,
        }
    )


def deleted_out(binding: Binding, *, dry_run: bool) -> DeletedBindingOut:
    return DeletedBindingOut.model_validate({**binding_out(binding).model_dump(), "dry_run": dry_run})


def whoami_out(call: AdminCall) -> WhoAmIOut:
    return WhoAmIOut(
        kind=call.caller.kind.value,
        id=call.caller.id,
        name=call.caller.name,
        subjects=list(call.subjects),
        rights=[right_out(each) for each in call.rights],
    )

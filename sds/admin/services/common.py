"""Who asks, and pages of answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from sds.admin.access.roles import Right

T = TypeVar("T")


class CallerKind(StrEnum):
    """How a caller proved who they are: by the kernel's word, an SVID, a login, or an API token."""

    LOCAL = "local"
    SVID = "svid"
    OIDC = "oidc"
    TOKEN = "token"  # noqa: S105 - the kind, no token
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `id`: ``uid:1000``, a SPIFFE ID, ``oidc:ISSUER#SUBJECT`` or ``token:ID``; stands in the audit log.

    `name` is for people: a login name, an e-mail address, a token's name. `address`: ``pid:42`` or a network address.
    """

    kind: CallerKind
    id: str
    name: str
    address: str = ""


NOBODY = Caller(CallerKind.UNKNOWN, "", "unknown")


def local_caller(uid: int, pid: int, name: str) -> Caller:
    """A process of this host, by the kernel's word."""
    return Caller(CallerKind.LOCAL, f"uid:{uid}", name, f"pid:{pid}")


@dataclass(frozen=True, slots=True)
class AdminCall:
    """Who asks, what they may do, and under which request id. Becomes `Actor(kind="admin", ...)`.

    `subjects`: all that a binding may call them: their own id, their groups. `csrf`: of the session, else empty.
    """

    caller: Caller
    request_id: str
    rights: tuple[Right, ...] = ()
    csrf: str = field(default="", repr=False)
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing; `next_cursor` is opaque and None on the last page."""

    items: tuple[T, ...]
    next_cursor: str | None = None

"""Requests that somebody else has to approve before they are done."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from sds.admin.services.common import AdminCall, Page


class ApprovalState(StrEnum):
    """`APPROVED`: being done. It ends `PERFORMED` or `FAILED`, and is never done again."""

    PENDING = "pending"
    APPROVED = "approved"
    PERFORMED = "performed"
    FAILED = "failed"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class ApprovalInfo:
    """`operation` is what would be done; `request` is all of what was asked for, in canonical form."""

    id: str
    operation: str
    target: str
    request: bytes = field(repr=False)
    digest: str
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    state: ApprovalState
    decided_by: str = ""
    decided_at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ApprovalQuery:
    state: ApprovalState | None = None
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Approved:
    """What is to be done now, and as whom: the requester, with the rights that they have now."""

    info: ApprovalInfo
    requester: AdminCall


class ApprovalAdmin(Protocol):
    async def ask(self, call: AdminCall, operation: str, target: str, request: bytes) -> ApprovalInfo:
        """Puts it before others; the same request of the same caller that waits already is not put twice.

        Raises TooManyRequests where too many wait.
        """
        ...

    async def page(self, query: ApprovalQuery) -> Page[ApprovalInfo]:
        """Newest first. Raises InvalidCursor."""
        ...

    async def get(self, approval_id: str) -> ApprovalInfo:
        """Raises NotFound."""
        ...

    async def approve(self, call: AdminCall, approval_id: str) -> Approved:
        """From now on it is being done; of any number of approvers one succeeds.

        Raises NotFound, Conflict, Forbidden: for who asked, and for who may not do it themselves.
        """
        ...

    async def reject(self, call: AdminCall, approval_id: str, reason: str) -> ApprovalInfo:
        """Also by who asked, who so takes it back. Raises NotFound, Conflict."""
        ...

    async def finish(self, call: AdminCall, approval_id: str, *, status: int) -> ApprovalInfo:
        """Records how it ended."""
        ...

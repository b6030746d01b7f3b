"""What is done only once somebody else approves it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sds.client.nouns import Noun, operation
from sds.client.results import Result, Time
from sds.client.transport.connection import part

_PATH = "/v1/approvals"


class Approval(Result):
    """`request`: all of what was asked for, as it would be done. `digest`: SHA-256 of its canonical form."""

    id: str
    operation: str
    target: str
    request: dict[str, Any]
    digest: str
    requested_by: str
    requested_at: Time
    expires_at: Time
    state: str
    decided_by: str
    decided_at: Time | None
    reason: str


class Performed(Result):
    """`status` and `result`: what the requester would have been answered."""

    approval: Approval
    status: int
    result: Any


class Approvals(Noun):
    @operation("approval.list")
    def list(self, *, state: str | None = None, limit: int | None = None) -> Iterator[Approval]:
        return self._pages(Approval, _PATH, "approvals", {"state": state}, limit=limit)

    @operation("approval.show")
    def get(self, approval_id: str) -> Approval:
        return self._get(Approval, f"{_PATH}/{part(approval_id)}")

    @operation("approval.approve")
    def approve(self, approval_id: str) -> Performed:
        """Does it now, as who asked for it. Raises Forbidden for whoever asked for it."""
        return self._post(Performed, f"{_PATH}/{part(approval_id)}:approve")

    @operation("approval.reject")
    def reject(self, approval_id: str, reason: str = "") -> Approval:
        """It is not done. Who asked for it may take it back so, too."""
        return self._post(Approval, f"{_PATH}/{part(approval_id)}:reject", {"reason": reason})

"""Access for people."""

from __future__ import annotations

from sds.cli.output import say
from sds.cli.text import exact, moment
from sds.client.access import ApiToken, Binding, DeletedBinding, RevokedToken, Right
from sds.client.approvals import Approval
from sds.clock import SystemClock

TOKENS = ("ID", "NAME", "RIGHT", "BY", "LAST USED", "ENDS")
BINDINGS = ("ID", "SUBJECT", "RIGHT", "BY", "ENDS")
APPROVALS = ("ID", "STATE", "OPERATION", "TARGET", "BY", "ASKED")


def right_text(right: Right) -> str:
    """The role, and what it is limited to."""
    limits = [] if right.below is None else [f"below {right.below}"]
    limits += [f"{key}={text}" for key, text in right.labels.items()]
    return f"{right.role} ({', '.join(limits)})" if limits else right.role


def token_row(token: ApiToken) -> tuple[str, ...]:
    now = SystemClock().now()
    used = "never" if token.last_used_at is None else moment(token.last_used_at, now)
    ends = "revoked" if token.revoked_at is not None else moment(token.expires_at, now)
    return token.id, token.name, right_text(token), token.created_by, used, ends


def binding_row(binding: Binding) -> tuple[str, ...]:
    ends = "never" if binding.expires_at is None else moment(binding.expires_at, SystemClock().now())
    return binding.id, binding.subject, right_text(binding), binding.created_by, ends


def approval_row(approval: Approval) -> tuple[str, ...]:
    asked = moment(approval.requested_at, SystemClock().now())
    return approval.id, approval.state, approval.operation, approval.target, approval.requested_by, asked


def print_revoked(token: RevokedToken) -> None:
    if not token.dry_run:
        say(f"Revoked the API token {token.id} ({token.name}).")
        return
    used = "never used" if token.last_used_at is None else f"last used {exact(token.last_used_at)}"
    _print_dry_run(f"Would revoke the API token {token.id} ({token.name}), {right_text(token)}, {used}.")


def print_deleted(binding: DeletedBinding) -> None:
    if not binding.dry_run:
        say(f"Deleted the binding {binding.id}: {binding.subject} is no longer {binding.role} by it.")
        return
    _print_dry_run(f"Would delete the binding {binding.id}: {binding.subject} is {right_text(binding)} by it.")


def _print_dry_run(would: str) -> None:
    say(would)
    say("This was a dry run: nothing was changed.")

"""Errors of the client as the messages, the advice and the exit codes that docs/cli.md promises."""

from __future__ import annotations

import errno

from sds.cli.errors import CliError, ExitCode
from sds.client import errors

_CODES: tuple[tuple[type[errors.Refused], ExitCode], ...] = (
    (errors.GateClosed, ExitCode.GATE_CLOSED),
    (errors.NotFound, ExitCode.NOT_FOUND),
    (errors.AlreadyExists, ExitCode.CONFLICT),
    (errors.NotNow, ExitCode.CONFLICT),
    (errors.Conflict, ExitCode.CONFLICT),
)
_ADVICE = {
    "conflict": "Look at what stands now (`{show}`) and repeat.",
    "already-exists": "Look at what stands now (`{show}`) and repeat.",
    "rotation-refused": "`sds ca show` says what stands now.",
}
_SHOW = {"secrets": "sds secret show NAME", "grants": "sds grant list"}
"""How to look at what the call was about."""


def cli_error(error: errors.ClientError, program: str, *, remote: bool) -> CliError:
    """`program`: what should be running at the other end. `remote`: it was called over TLS."""
    match error:
        case errors.Refused():
            return _refused(error, program, remote=remote)
        case errors.BrokenOff():
            return CliError(
                ExitCode.UNREACHABLE, error.message, advice=f"Is `{program}` being stopped? Its log says more."
            )
        case errors.Unreachable():
            return CliError(ExitCode.UNREACHABLE, error.message, advice=_way(error, program, remote=remote))
        case errors.NotTheApi():
            place = "the admin API of" if remote else "the socket of"
            return CliError(ExitCode.FAILED, error.message, advice=f"Check that it is {place} `{program}`.")
        case errors.Unexpected():
            advice = "Use the same version of sds for the command and the server."
            return CliError(ExitCode.FAILED, error.message, advice=advice)
        case errors.ApprovalNeeded():
            return CliError(
                ExitCode.APPROVAL_NEEDED,
                error.message,
                problem={"type": "urn:sds:problem:approval-needed", "approval": error.document},
                advice=f"It is done by whoever approves it: `sds access approval approve {error.approval_id}`.",
            )
        case errors.Unusable():
            return CliError(ExitCode.USAGE, error.message)
    return CliError(ExitCode.FAILED, error.message)


def _refused(error: errors.Refused, program: str, *, remote: bool) -> CliError:
    if isinstance(error, errors.NoSuchCall):
        which = "Is it the admin API" if remote else "Is it the admin socket"
        return CliError(
            ExitCode.FAILED,
            f"what answers at {error.where} does not know this call" if error.where else error.message,
            advice=f"{which} of `{program}`, and of this version?",
        )
    code = next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)
    show = next((text for noun, text in _SHOW.items() if error.path.startswith(f"/v1/{noun}")), "sds entry show ID")
    return CliError(
        code,
        error.message,
        problems=[str(each) for each in error.problems],
        problem=error.document,
        advice=_advice(error).format(show=show),
    )


def _advice(error: errors.Refused) -> str:
    if isinstance(error, errors.Unauthenticated):
        return "Give a token (--admin-token-file) or a certificate (--admin-certificate-file) that is still good."
    return _ADVICE.get(error.kind, "")


def _way(error: errors.Unreachable, program: str, *, remote: bool) -> str:
    if error.errno == errno.ENAMETOOLONG:
        return "Use a relative path, or a shorter data folder."
    if error.timed_out:
        return "Is it overloaded? Its log says more."
    if error.errno in (errno.EACCES, errno.EPERM) and not remote:
        return "Run this command as root or as the user that the process runs as."
    if error.why == "it broke off before it answered":
        return "Its log says more; what was asked may be done or not."
    if remote:
        return f"Is `{program}` running, and does it listen there? (--admin-url)"
    return f"Is `{program}` running, and is this its admin socket? (--admin-socket)"

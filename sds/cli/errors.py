"""Why a command ended, and the exit code that says so (docs/cli.md lists them; they are a promise)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1  # refused by the server, or failed there
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4  # it exists with other values, or changed meanwhile
    UNREACHABLE = 5
    CONFIG = 6
    DIFFERENT = 7  # `entry apply --dry-run --exit-code` found differences
    GATE_CLOSED = 8  # somebody would not accept what the next authority issues
    APPROVAL_NEEDED = 9  # nothing is done until somebody else approves it
    UNPROVED = 10  # the audit log is not what was signed
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class CliError(Exception):
    """Ends the command. `message` says what is wrong and `advice` what to do; `problem` is the server's document."""

    def __init__(
        self,
        code: ExitCode,
        message: str,
        *,
        advice: str = "",
        problems: Sequence[str] = (),
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.advice = advice
        self.problems = tuple(problems)
        self.problem = problem

    def document(self) -> dict[str, Any]:
        """The error for `--output json`: the server's problem document, or one of ours in the same shape."""
        body: dict[str, Any] = dict(self.problem or {"type": f"urn:sds:problem:cli-{self.code.name.lower()}"})
        body.setdefault("title", self.message)
        body.setdefault("detail", "; ".join((self.message, *self.problems)))
        if self.advice:
            body["advice"] = self.advice
        body["exit_code"] = int(self.code)
        return body

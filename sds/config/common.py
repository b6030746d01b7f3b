"""Tables that the server's and the agent's configuration share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic_core import PydanticCustomError

from sds.config.problems import CROSS, Problem
from sds.config.types import Address, ListenAddress, Section, key

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]


class LogSection(Section):
    """What is written to standard error."""

    level: LogLevel = key("The least severe level that is written.", default="info", reload=True)
    format: LogFormat = key("`json`: one object a line; `console`: for people at a terminal.", default="json")


class HealthSection(Section):
    """A plain-HTTP listener for probes and metrics. It answers nothing secret, but anyone who reaches it may ask."""

    listen: ListenAddress | None = key(
        "TCP address of `/live`, `/ready` and `/metrics`. They are on the admin socket in any case.",
        default=None,
        shown="none",
    )


def cross_check(problems: list[Problem]) -> None:
    """Raise what pydantic hands back to `translate` if checks between keys found anything."""
    if problems:
        raise PydanticCustomError(CROSS, "keys contradict each other", {"problems": problems})


def below(prefix: str, problems: Iterable[Problem]) -> list[Problem]:
    """The same problems, told by whoever knows where their tables stand."""
    return [Problem(f"{prefix}.{p.key}".rstrip("."), p.problem, p.hint) for p in problems]


def same_port(addresses: Mapping[str, Address | None]) -> list[Problem]:
    """A problem for each listener whose address an earlier one already has."""
    seen: dict[Address, str] = {}
    found: list[Problem] = []
    for name, address in addresses.items():
        if address is None or not address.port:
            continue
        if address in seen:
            found.append(Problem(name, f"is the same address as {seen[address]}", "give each listener its own port"))
        seen.setdefault(address, name)
    return found


def with_default(data: Mapping[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    """`data` with `value` at `path` unless something stands there; never touches what is not a table."""
    first, *rest = path
    copy = dict(data)
    below = copy.get(first)
    if not rest:
        copy.setdefault(first, value)
    elif below is None or isinstance(below, Mapping):
        copy[first] = with_default(below or {}, tuple(rest), value)
    elif isinstance(below, Section):
        given = {name: getattr(below, name) for name in below.model_fields_set}
        copy[first] = with_default(given, tuple(rest), value)
    return copy

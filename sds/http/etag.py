"""Entity tags (RFC 9110 section 8.8.3)."""

from __future__ import annotations

from collections.abc import Sequence


def known(if_none_match: Sequence[str], tag: str) -> bool:
    """Whether the client has it already, by its If-None-Match headers; weak comparison (sections 8.8.3.2, 13.1.2)."""
    given = [one.strip().removeprefix("W/") for one in ",".join(if_none_match).split(",")]
    return "*" in given or tag in given

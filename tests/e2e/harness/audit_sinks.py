"""What receivers of the audit log have been told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.fakes.receivers import HttpReceiver


def in_file(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "audit.jsonl").read_text().splitlines()
    whole = []
    for line in lines:
        try:
            whole.append(json.loads(line))
        except ValueError:
            continue  # of a process that was killed in the middle of a line, and stands again behind it
    return whole


def in_hook(hook: HttpReceiver) -> list[dict[str, Any]]:
    return [item for _, body in hook.requests for item in json.loads(body)["items"]]


def leaves(items: list[dict[str, Any]]) -> list[int]:
    return [item["leaf"] for item in items if "leaf" in item]


def check_order(found: list[int]) -> None:
    """No leaf comes before one that it follows, however often some come."""
    highest = -1
    for leaf in found:
        assert leaf <= highest + 1, found
        highest = max(highest, leaf)

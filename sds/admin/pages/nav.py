"""The pages there are, in the order of their navigation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Item:
    """A page in the navigation. `operation`: without that right it is not offered; "" for everybody."""

    path: str
    label: str
    operation: str = ""
    also: tuple[str, ...] = ()

    def holds(self, path: str) -> bool:
        """Whether a URL's path belongs below this item."""
        if self.path == "/":
            return path == "/"
        return any(path == one or path.startswith(f"{one}/") for one in (self.path, *self.also))


NAVIGATION = (
    Item("/", "Overview"),
    Item("/certificates", "Certificates", "certificate.list"),
    Item("/workloads", "Workloads", "stream.list"),
    Item("/agents", "Agents", "agent.list"),
    Item("/entries", "Entries", "entry.list", ("/explain",)),
    Item("/secrets", "Secrets", "secret.list", ("/grants",)),
    Item("/authorities", "Authorities", "authority.list"),
    Item("/revoke", "Revoke", "block.list", ("/blocks",)),
    Item("/audit", "Audit", "audit.tail"),
    Item("/access", "Access"),
    Item("/notices", "Notices", "notice.list"),
)


def sections(can: Callable[[str], bool]) -> tuple[Item, ...]:
    """What somebody is offered."""
    return tuple(each for each in NAVIGATION if not each.operation or can(each.operation))

"""Who of all watchers wants what, so that a change wakes those whom it concerns and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sds.server.secrets.news import Want

if TYPE_CHECKING:
    from sds.server.secrets.watch import SecretWatcher


class Index:
    """Of all watchers: by the entry and by the secret's name. Each has the same of its own wants."""

    __slots__ = ("by_entry", "by_name", "wanted")

    def __init__(self) -> None:
        self.by_entry: dict[str, set[SecretWatcher]] = {}
        self.by_name: dict[str, set[SecretWatcher]] = {}
        self.wanted = 0


def enter(
    watcher: SecretWatcher, key: Want, own: dict[str, set[Want]], index: dict[str, set[SecretWatcher]], by: str
) -> None:
    """`watcher` wants `key`, found by `by` in its own book and in everyone's."""
    own.setdefault(by, set()).add(key)
    index.setdefault(by, set()).add(watcher)


def leave(
    watcher: SecretWatcher, key: Want, own: dict[str, set[Want]], index: dict[str, set[SecretWatcher]], by: str
) -> None:
    """The reverse of `enter`."""
    own[by].discard(key)
    if not own[by]:
        del own[by]
        index[by].discard(watcher)
        if not index[by]:
            del index[by]

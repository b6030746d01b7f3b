"""Session-ticket keys, by which all sidecars of one identity resume each other's TLS sessions."""

from __future__ import annotations

from datetime import timedelta

from sds.config.types import Duration, Section, key


class TicketsSection(Section):
    """The secret named `tickets`, which every identity has without a definition or a grant."""

    enabled: bool = key("Serve session-ticket keys. If false, nobody has a secret named `tickets`.", default=True)
    rotate_every: Duration = key(
        "How long one key encrypts tickets. It is sent out as long before, decrypts as long after, and is then "
        "destroyed: traffic of a session that was resumed by it stays closed from three times this long after the key "
        "was made.",
        default=timedelta(hours=12),
        ge=timedelta(seconds=10),
        le=timedelta(days=7),
    )

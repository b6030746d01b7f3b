"""Where an agent keeps what it saw until the server has taken it in."""

from __future__ import annotations

from sds.config.types import Count, Section, key


class SpoolSection(Section):
    """Events for the server's audit log, kept in the data folder over restarts until they were taken in.

    When it is full, or cannot be written, what comes is dropped and what is there stays; the server's audit log says
    which numbers are missing. Nothing that is served waits for it.
    """

    enabled: bool = key("Whether there is one; without it events are kept in memory alone.", default=True)
    max_events: Count = key("Events kept.", default=100_000, ge=100, le=10_000_000)
    max_bytes: Count = key("Size of all of them.", default=67_108_864, ge=1_048_576, le=2**40)

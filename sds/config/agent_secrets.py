"""Named secrets on a node: how many may be wanted, how large they may be."""

from __future__ import annotations

from datetime import timedelta

from sds.config.types import Count, Duration, Section, key


class AgentSecretsSection(Section):
    """Named secrets that local workloads ask for. Their values are held in memory, and only while they are wanted."""

    patience: Duration = key(
        "How long the server may take to answer before a client that asked is told that there is nothing now. It still "
        "gets the value when that comes.",
        default=timedelta(seconds=5),
        ge=timedelta(milliseconds=10),
        le=timedelta(minutes=1),
    )
    max_bytes: Count = key("Size of one value with all its fields.", default=2_097_152, ge=1_024, le=16_777_216)
    max_per_process: Count = key("Secrets that one process may want at once.", default=1_000, ge=1)
    max_per_uid: Count = key("Secrets that all processes of one user may want at once.", default=20_000, ge=1)
    max_total: Count = key("Secrets that all processes may want at once.", default=40_000, ge=1)

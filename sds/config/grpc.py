"""Connections of the gRPC listeners."""

from __future__ import annotations

from datetime import timedelta

from sds.config.types import Duration, Section, key

_SECOND = timedelta(seconds=1)


class GrpcSection(Section):
    """The node API's listeners."""

    reflection: bool = key("Serve gRPC reflection. Off: it tells everyone who connects what there is.", default=False)
    keepalive: Duration = key("Time of silence after which a peer is probed.", default=30 * _SECOND, ge=_SECOND)
    keepalive_timeout: Duration = key(
        "Time without an answer to a probe after which the connection is closed.", default=10 * _SECOND, ge=_SECOND
    )
    heartbeat: Duration = key(
        "How often a WatchAuthorized stream tells the server's time when nothing changes.",
        default=15 * _SECOND,
        ge=_SECOND,
    )
    drain_timeout: Duration = key(
        "How long SIGTERM waits for calls that are under way.", default=10 * _SECOND, le=timedelta(minutes=10)
    )

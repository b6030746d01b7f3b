"""The gRPC servicers of Envoy's SecretDiscoveryService and AggregatedDiscoveryService."""

from __future__ import annotations

from sds.delivery.ports import Caller, CallerInfo, Callers, Observer, StreamInfo

__all__ = ["Caller", "CallerInfo", "Callers", "Observer", "StreamInfo"]

"""The one table from this program's errors to gRPC statuses. Whatever is not in it is INTERNAL, without detail."""

from __future__ import annotations

import grpc

from attestation.errors import AttestationRefused
from sds.delivery.errors import (
    InvalidRequest,
    LimitExceeded,
    NoIdentity,
    NoSuchSecret,
    NotGranted,
    NotReady,
    NotSupported,
)

_TABLE: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (LimitExceeded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (NoSuchSecret, grpc.StatusCode.NOT_FOUND),
    (NoIdentity, grpc.StatusCode.PERMISSION_DENIED),
    (NotGranted, grpc.StatusCode.PERMISSION_DENIED),
    (NotReady, grpc.StatusCode.UNAVAILABLE),
    (NotSupported, grpc.StatusCode.UNIMPLEMENTED),
    (AttestationRefused, grpc.StatusCode.PERMISSION_DENIED),
)
INTERNAL = (grpc.StatusCode.INTERNAL, "internal error")


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """The code and the text to end a call with."""
    for kind, code in _TABLE:
        if isinstance(error, kind):
            return code, str(error)
    return INTERNAL

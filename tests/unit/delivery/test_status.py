from __future__ import annotations

import grpc
import pytest

from attestation.errors import AttestationRefused, InvalidSpiffeId
from sds.delivery import errors
from sds.delivery.service import DeliverySettings, server_options
from sds.delivery.status import INTERNAL, status_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidRequest("why"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.LimitExceeded("why"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.NoSuchSecret("why"), grpc.StatusCode.NOT_FOUND),
        (AttestationRefused("why"), grpc.StatusCode.PERMISSION_DENIED),
    ],
)
def test_known_errors_say_why(error: Exception, code: grpc.StatusCode):
    assert status_of(error) == (code, "why")


@pytest.mark.parametrize("error", [RuntimeError("canary"), InvalidSpiffeId("canary"), KeyError("canary")])
def test_all_others_say_nothing(error: Exception):
    assert status_of(error) == INTERNAL
    assert "canary" not in INTERNAL[1]


def test_every_error_of_the_package_has_a_code():
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.DeliveryError)]
    for kind in kinds:
        assert kind is errors.DeliveryError or status_of(kind("x")) != INTERNAL


def test_keepalive_is_for_networks_only():
    local, remote = dict(server_options(DeliverySettings())), dict(server_options(DeliverySettings(), keepalive=30))
    assert "grpc.keepalive_time_ms" not in local
    assert remote["grpc.keepalive_time_ms"] == 30_000
    assert local["grpc.max_receive_message_length"] == 1024 * 1024

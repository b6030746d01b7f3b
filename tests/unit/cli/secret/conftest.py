"""A fake server that keeps secrets, and one secret there."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.fakes.admin_secrets import FakeSecrets
from tests.fakes.admin_server import Running
from tests.unit.cli.conftest import Sds

CANARY = "CANARY-of-a-value"
KV = ("--from", "kv", "--path", "apps/orders", "--field", "token")


@pytest.fixture
def secrets(running: Running) -> FakeSecrets:
    return running.fakes.secrets


@pytest.fixture
def token(sds: Sds) -> str:
    sds("secret", "create", "orders/token")
    return "orders/token"


def last(secrets: FakeSecrets, name: str) -> Mapping[str, bytes]:
    """The newest value that the server was given, in clear."""
    return {field: value.reveal() for field, value in secrets.values[name][-1].items()}

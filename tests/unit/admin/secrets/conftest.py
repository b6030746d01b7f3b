"""One secret, and what the tests say of secrets."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

CANARY = b"CANARY-of-a-value"
SECRET: dict[str, Any] = {
    "name": "orders/api-token",
    "kind": "generic",
    "owner": "team-orders",
    "labels": {"env": "prod"},
}
KV: dict[str, Any] = {
    "name": "from-vault",
    "kind": "generic",
    "source": {"backend": "kv", "mount": "secret", "path": "apps/orders", "fields": {"": "token"}},
}
ONE = "/v1/secrets/orders/api-token"
WEB = "spiffe://example.org/web"


def value(raw: bytes = CANARY, name: str = "", **more: Any) -> dict[str, Any]:
    return {"fields": {name: base64.b64encode(raw).decode()}, **more}


@pytest.fixture
async def made(http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.post("/v1/secrets", json=SECRET)
    assert answer.status_code == 201, answer.text
    return answer.json()

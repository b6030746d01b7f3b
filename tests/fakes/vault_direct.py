"""A client of a test's Vault without pauses, budget and breaker: each call is one request, each answer the real one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx

from sds.vault.answers import Reply, VaultAnswer, read_reply
from sds.vault.call import make_call
from sds.vault.errors import VaultUnavailable
from tests.fakes.vault_server import VaultServer


class DirectVault:
    """Implements what sds.vault.transit and sds.vault.pki_upstream need of a client. `requests` are all that it sent."""

    def __init__(self, server: VaultServer, token: str | None = None) -> None:
        """As root unless another token is given."""
        self.server = server
        self.token = token
        self.requests: list[tuple[str, str]] = []

    def request_blocking(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> VaultAnswer:
        call = make_call(method, path, body)
        self.requests.append((method, path))
        content = None if call.body is None else json.loads(call.body)
        try:
            answer = self.server.call_blocking(call.path, content, self.token, method)
        except httpx.HTTPError as error:
            raise VaultUnavailable("Vault cannot be reached") from error
        return read_reply(Reply(answer.status_code, answer.content), call)

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> VaultAnswer:
        return await asyncio.to_thread(self.request_blocking, method, path, body)

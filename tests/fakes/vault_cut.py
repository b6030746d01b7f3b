"""A client of a test's Vault whose line can be cut; it counts what is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ca.masked import Masked
from sds.vault.answers import VaultAnswer
from sds.vault.client import VaultClient
from sds.vault.errors import VaultUnavailable


class CutVault:
    """Passes on to a real client unless it is cut."""

    def __init__(self, client: VaultClient) -> None:
        self._client = client
        self.cut = False
        self.requests: list[tuple[str, str]] = []

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        token: Masked[str] | None = None,
    ) -> VaultAnswer:
        self.requests.append((method, path))
        if self.cut:
            raise VaultUnavailable("Vault cannot be reached")
        return await self._client.request(method, path, body, params=params, token=token)

"""Messages to a webhook: JSON, signed over its time, so that it can be neither made up nor repeated much later."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from ca.masked import Masked
from sds import __version__
from sds.notices.message import document
from sds.server.notices.outgoing import Outgoing, SendFailed
from sds.server.secrets.hook import SIGNATURE_HEADER, TIME_HEADER, sign

ID_HEADER = "x-sds-id"


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """`timeout`: seconds for a whole call."""

    url: str
    key: Masked[bytes] = field(repr=False)
    timeout: float
    ca_file: Path | None = None


class Webhook:
    """Each call on a connection of its own, within one bound of time. Any 2xx means that it was taken over."""

    def __init__(self, options: WebhookOptions, trust_domain: str) -> None:
        self._options = options
        self._trust_domain = trust_domain

    async def send(self, outgoing: Outgoing) -> None:
        """Raises SendFailed."""
        told = document(outgoing.id, outgoing.notices, outgoing.mode, outgoing.now, self._trust_domain)
        body = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
        time = str(int(outgoing.now.timestamp()))
        headers = {
            "content-type": "application/json",
            "user-agent": f"sds/{__version__}",
            ID_HEADER: outgoing.id,
            TIME_HEADER: time,
            SIGNATURE_HEADER: sign(self._options.key, time, body),
        }
        try:
            async with asyncio.timeout(self._options.timeout):
                status = await self._post(body, headers)
        except TimeoutError:
            raise SendFailed(f"the webhook took longer than {self._options.timeout:g} s", outage=True) from None
        if not 200 <= status < 300:
            raise SendFailed(f"the webhook answered {status}", outage=True)

    async def _post(self, body: bytes, headers: dict[str, str]) -> int:
        """The answer's status; nothing else of it is read."""
        try:
            tls = await asyncio.to_thread(_tls, self._options.ca_file)
        except (OSError, ssl.SSLError):
            raise SendFailed("the webhook's authorities cannot be read", outage=True) from None
        try:
            async with (
                httpx.AsyncClient(verify=tls, trust_env=False, timeout=None, follow_redirects=False) as client,  # noqa: S113 - the caller's
                client.stream("POST", self._options.url, content=body, headers=headers) as answer,
            ):
                return answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SendFailed(f"the webhook cannot be reached: {type(error).__name__}", outage=True) from None


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context

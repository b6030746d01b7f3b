"""A steady stream of requests through the two Envoys, and what the answers prove.

Each answer carries the certificates that the TLS peers presented on the very connection it came over (the Envoys add
them as headers, see sds.demo.envoy_config), so the serials counted here are the ones in use, read by the other side.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

import httpx
from cryptography import x509

from sds.demo.envoy_config import CLIENT_ID_HEADER, CLIENT_SERIAL_HEADER, SERVER_CERTIFICATE_HEADER

_TIMEOUT = 10.0  # seconds; longer than any timeout inside the Envoys, so that theirs are seen


@dataclass(slots=True)
class Tally:
    """What was sent and what came back; counts only grow."""

    requests: int = 0
    failed: int = 0
    failures: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    client_serials: dict[str, int] = field(default_factory=dict)
    """Hex serial of each certificate that the front side presented, and the requests that it served."""
    server_serials: dict[str, int] = field(default_factory=dict)
    """Hex serial of each certificate that the back side presented, and the requests that it served."""
    client_ids: set[str] = field(default_factory=set)

    @property
    def distinct_serials(self) -> int:
        return len(self.client_serials) + len(self.server_serials)

    def fail(self, why: str) -> None:
        self.failed += 1
        self.failures.append(why)


class Traffic:
    """Sends `rate` requests a second over `workers` connections until it is cancelled.

    `check` is shown the headers of each answer and says what is wrong with them, or "".
    """

    def __init__(
        self,
        url: str,
        tally: Tally,
        *,
        rate: float = 100.0,
        workers: int = 4,
        http2: bool = False,
        check: Callable[[Mapping[str, str]], str] | None = None,
    ) -> None:
        self._url = url
        self._tally = tally
        self._pause = workers / rate
        self._workers = workers
        self._http2 = http2
        self._check = check
        self._certificate: tuple[str, str] = ("", "")

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        async with httpx.AsyncClient(
            http1=not self._http2, http2=self._http2, timeout=_TIMEOUT, trust_env=False
        ) as client:
            while True:
                await self.once(client)
                await asyncio.sleep(self._pause)

    async def once(self, client: httpx.AsyncClient) -> None:
        """One request, counted."""
        self._tally.requests += 1
        try:
            answer = await client.get(self._url)
        except httpx.HTTPError as problem:
            self._tally.fail(f"{type(problem).__name__}: {problem}")
            return
        if answer.status_code != 200:
            self._tally.fail(f"{answer.status_code}: {answer.text[:200]}")
            return
        if self._check is not None and (wrong := self._check(answer.headers)):
            self._tally.fail(wrong)
            return
        _count(self._tally.client_serials, normal_serial(answer.headers.get(CLIENT_SERIAL_HEADER, "")))
        _count(self._tally.server_serials, self._server_serial(answer.headers.get(SERVER_CERTIFICATE_HEADER, "")))
        self._tally.client_ids.add(answer.headers.get(CLIENT_ID_HEADER, ""))

    def _server_serial(self, quoted_pem: str) -> str:
        """The serial in the URL-encoded certificate; the last one is remembered, since it rarely changes."""
        if quoted_pem != self._certificate[0]:
            serial = x509.load_pem_x509_certificate(unquote(quoted_pem).encode()).serial_number
            self._certificate = (quoted_pem, f"{serial:x}")
        return self._certificate[1]


def normal_serial(text: str) -> str:
    """A serial as this program writes it: lower-case hex without leading zeros; tools differ in both."""
    return text.replace(":", "").lower().lstrip("0")


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1

"""One application's connection: what it wants of secrets, for as long as the connection lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from attestation.errors import AttestationRefused
from sds.agent.workload import Workload
from sds.delivery.view import Absence
from sds.net.process import LocalProcess
from sds.net.relay import Connection
from sds.secrets.secret import SecretValue

Lookup = Callable[[str], Connection[LocalProcess] | None]
"""The live connection that the relay gave a name."""
Identify = Callable[[str], Awaitable[Workload]]
"""The process behind such a name, attested. Raises AttestationRefused, LimitExceeded."""


class Values(Protocol):
    """The part of LocalSecrets that is used here."""

    def find(self, workload: Workload, name: str) -> SecretValue | Absence | None: ...


class Client:
    """Wants every name that was asked for on its connection, so that asking again finds the value in memory."""

    def __init__(self, workload: Workload, values: Values) -> None:
        self.workload = workload
        self.closed = False
        self._values = values
        self._names: tuple[str, ...] = ()
        self._news = asyncio.Event()
        self._unwatch = workload.watch(self._wake)

    def want(self, name: str) -> None:
        """Raises LimitExceeded."""
        if name not in self._names:
            names = (*self._names, name)
            self.workload.want(self._wake, names)
            self._names = names

    def find(self, name: str) -> SecretValue | Absence | None:
        """What the process may have now; None: not known yet. Raises AttestationRefused."""
        if self.workload.refusal is not None:
            raise AttestationRefused(self.workload.refusal)
        return self._values.find(self.workload, name)

    async def news(self, seconds: float) -> bool:
        """Wait until something may be different; False if that takes longer."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True

    def close(self) -> None:
        """Want nothing any more (idempotent)."""
        self.closed = True
        self._unwatch()
        self._news.set()

    def _wake(self) -> None:
        self._news.set()


class Clients:
    """The live connections that have asked for something."""

    def __init__(self, lookup: Lookup, identify: Identify, values: Values) -> None:
        self._lookup = lookup
        self._identify = identify
        self._values = values
        self._clients: dict[str, Client] = {}

    async def client(self, connection_name: str) -> Client:
        """Attest who calls, again for every request. Raises AttestationRefused, LimitExceeded."""
        workload = await self._identify(connection_name)
        connection = self._lookup(connection_name)
        if connection is None:
            raise AttestationRefused("the caller has left")
        client = self._clients.get(connection_name)
        if client is None or client.workload is not workload:
            if client is not None:
                client.close()
            else:
                connection.on_close(lambda: self._left(connection_name))
            client = self._clients[connection_name] = Client(workload, self._values)
        return client

    def __len__(self) -> int:
        return len(self._clients)

    def _left(self, connection_name: str) -> None:
        client = self._clients.pop(connection_name, None)
        if client is not None:
            client.close()

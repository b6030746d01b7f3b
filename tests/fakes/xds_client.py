"""What the client simulators in sds_clients.py share: one stream, a task that reads it, and waiting for what came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, Self

import grpc
from envoy.config.core.v3.base_pb2 import Node
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from tests.fakes.wait import PATIENCE

SECRET_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
ELSEWHERE = 0.02
"""Seconds after which a condition is looked at again although this client was sent nothing."""

Judge = Callable[[Secret], str | None]
"""Why a secret is rejected; None: it is taken."""


def node(node_id: str = "test", **metadata: bool | str) -> Node:
    message = Node(id=node_id, cluster="test", user_agent_name="envoy")
    message.metadata.update(metadata)
    return message


class Client:
    """One stream. What it holds is in `secrets` and `versions`, everything that it was sent in `received`.

    Clients are strict: a response that the real one would reject, drop or choke on is an AssertionError at the next
    `until` or at `close`.
    """

    METHODS: ClassVar[dict[bool, str]]  # by whether it is ADS
    REQUEST: ClassVar[Any]
    RESPONSE: ClassVar[Any]

    def __init__(
        self, channel: grpc.aio.Channel, *, ads: bool = False, identity: Node | None = None, judge: Judge | None = None
    ) -> None:
        self._open = channel.stream_stream(
            self.METHODS[ads],
            request_serializer=self.REQUEST.SerializeToString,
            response_deserializer=self.RESPONSE.FromString,
        )
        self._ads = ads
        self._node = identity or node()
        self._judge = judge or (lambda _secret: None)
        self._call: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._fault: Exception | None = None
        self.secrets: dict[str, Secret] = {}
        self.versions: dict[str, str] = {}
        self.received: list[tuple[str, str]] = []  # (name, version) in order; an empty version is a removal
        self.ended: tuple[grpc.StatusCode, str] | None = None

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> Self:
        """Open the stream and say nothing."""
        self.ended = None
        self._call = self._open()
        self._reader = asyncio.create_task(self._read())
        return self

    async def disconnect(self) -> None:
        """Drop the stream; what is held stays."""
        if self._call is not None:
            self._call.cancel()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)
        self._call = self._reader = None

    async def close(self) -> None:
        await self.disconnect()
        self._raise()

    async def until(self, happened: Callable[[], bool], within: float = PATIENCE) -> None:
        """Wait until `happened()`, here or at the server. Raises TimeoutError, or AssertionError for a bad server."""
        async with asyncio.timeout(within):
            while not happened():
                self._raise()
                self._changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), ELSEWHERE)
        self._raise()

    async def until_holds(self, *names: str) -> None:
        await self.until(lambda: all(name in self.secrets for name in names))

    async def until_ended(self) -> tuple[grpc.StatusCode, str]:
        await self.until(lambda: self.ended is not None)
        assert self.ended is not None
        return self.ended

    def stall(self) -> None:
        """Stop reading, as a client does that hangs."""
        self._reading.clear()

    def unstall(self) -> None:
        self._reading.set()

    async def send(self, request: Any) -> None:
        """Put a request of the test's own making on the stream."""
        await self._call.write(request)

    async def _read(self) -> None:
        try:
            while True:
                await self._reading.wait()
                response = await self._call.read()
                if response is grpc.aio.EOF:
                    break
                await self._take(response)
                self._changed.set()
        except AssertionError as fault:
            self._fault = fault
        except (grpc.RpcError, asyncio.InvalidStateError):
            pass
        finally:
            self._changed.set()
        if self._fault is None:
            self.ended = (await self._call.code(), await self._call.details())
            self._changed.set()

    async def _take(self, response: Any) -> None:
        raise NotImplementedError

    def _raise(self) -> None:
        if self._fault is not None:
            raise self._fault

    def unpack(self, packed: Any) -> Secret:
        assert packed.type_url == SECRET_TYPE, f"a resource of type {packed.type_url!r} in a response about secrets"
        return Secret.FromString(packed.value)

    def keep(self, secret: Secret, version: str) -> None:
        self.secrets[secret.name] = secret
        self.versions[secret.name] = version

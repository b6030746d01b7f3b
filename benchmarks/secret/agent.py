"""An agent with many workloads in one coroutine: it joins, says what they want, and notes when each want is met."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import grpc.aio
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate

from attestation.entry import RESERVED_DNS
from ca.csr import build_csr
from ca.keys import KeyType, generate, to_pkcs8_pem
from sds._pb.sds.node.v1 import node_pb2, node_pb2_grpc
from sds.demo.ports import LOOPBACK
from sds.demo.stack import Stack

_OPTIONS = (("grpc.ssl_target_name_override", f"server.{RESERVED_DNS}"), ("grpc.max_receive_message_length", 16 << 20))
_WANTS_PER_MESSAGE = 1000
Want = tuple[str, str]
"""An entry's ID and a secret's name."""


class WantingAgent:
    """`held` maps each want to the version that it has; `at` to when that came (monotonic seconds)."""

    def __init__(self, stack: Stack, path: str) -> None:
        self.spiffe_id = stack.id(path)
        self.held: dict[Want, str] = {}
        self.at: dict[Want, float] = {}
        self.absent: dict[str, int] = {}
        self._stack = stack
        self._chain = self._key = self._roots = b""
        self._channel: Any = None
        self._call: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def join(self) -> None:
        """Attest with a fresh join token."""
        self._roots = (await self._stack.call("GET", "/v1/bundle?format=pem")).content
        token = (await self._stack.call("POST", "/v1/tokens", {"ttl_seconds": 300, "spiffe_id": self.spiffe_id})).json()
        key = generate(KeyType("ecdsa-p256"))
        tls = grpc.ssl_channel_credentials(self._roots)
        async with grpc.aio.secure_channel(f"{LOOPBACK}:{self._stack.ports[1]}", tls, _OPTIONS) as channel:
            stub: Any = node_pb2_grpc.NodeAttestationStub(channel)  # type: ignore[no-untyped-call]
            asked = node_pb2.AttestRequest(type="join_token", payload=token["token"].encode(), csr=build_csr(key))
            svid = (await stub.Attest(asked, timeout=30)).svid
        self._key = to_pkcs8_pem(key).reveal()
        chain = [load_der_x509_certificate(one).public_bytes(Encoding.PEM) for one in svid.certificate_chain]
        self._chain = b"".join(chain)

    async def want(self, wants: Sequence[Want]) -> None:
        """Open the stream and say all of them; returns when they were said, not when they are met."""
        tls = grpc.ssl_channel_credentials(self._roots, self._key, self._chain)
        self._channel = grpc.aio.secure_channel(f"{LOOPBACK}:{self._stack.ports[0]}", tls, _OPTIONS)
        stub: Any = node_pb2_grpc.NodeStub(self._channel)  # type: ignore[no-untyped-call]
        self._call = stub.WatchSecrets()
        self._reader = asyncio.create_task(self._read(), name="reader of the agent")
        for start in range(0, len(wants), _WANTS_PER_MESSAGE):
            some = wants[start : start + _WANTS_PER_MESSAGE]
            said = [node_pb2.SecretWant(entry_id=entry_id, name=name) for entry_id, name in some]
            await self._call.write(node_pb2.WatchSecretsRequest(wanted=said))

    async def until(self, wants: Sequence[Want], since: float, within: float) -> float:
        """When the last of these got a value after `since`. Raises TimeoutError, or what ended the stream."""
        async with asyncio.timeout(within):
            left = set(wants)
            while True:
                left = {want for want in left if self.at.get(want, 0.0) < since}
                if not left:
                    return max(self.at[want] for want in wants)
                self._news.clear()
                await self._news.wait()
                if self._reader is not None and self._reader.done():
                    self._reader.result()
                    raise RuntimeError("the server ended the stream")

    async def _read(self) -> None:
        try:
            async for message in self._call:
                now = time.monotonic()
                for update in message.updates:
                    self._take(update, now)
                self._news.set()
        finally:
            self._news.set()

    def _take(self, update: Any, now: float) -> None:
        if update.WhichOneof("state") != "value":
            reason = node_pb2.SecretAbsence.Reason.Name(update.absence.reason)
            self.absent[reason] = self.absent.get(reason, 0) + len(update.entry_ids)
            return
        for entry_id in update.entry_ids:
            want = (entry_id, update.name)
            self.held[want], self.at[want] = update.value.version, now

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()

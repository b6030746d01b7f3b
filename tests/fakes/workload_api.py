"""A client of the SPIFFE Workload API on grpc.aio, and views of real certificates to serve it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Self

import grpc
from google.protobuf.message import Message

from attestation.spiffe_id import SpiffeId
from ca.authority import SigningAuthority
from ca.bundle import to_pem
from sds._pb.spiffe.workload import workload_pb2
from sds.delivery.resource import TlsCertificate
from sds.delivery.view import DomainBundle, Identity, Trust, View
from tests.fakes.ca import Holder, make_authority, make_svid
from tests.fakes.clock import EPOCH

HEADER = (("workload.spiffe.io", "true"),)
SVIDS = "FetchX509SVID"
BUNDLES = "FetchX509Bundles"
RESPONSES = {SVIDS: workload_pb2.X509SVIDResponse, BUNDLES: workload_pb2.X509BundlesResponse}


def identity(holder: Holder) -> Identity:
    svid = holder.svid
    certificate = TlsCertificate(svid.pem(), holder.key_pem, svid.serial, EPOCH + timedelta(hours=1))
    return Identity(SpiffeId.parse(str(svid.spiffe_id)), certificate)


def domain_bundle(*authorities: SigningAuthority) -> DomainBundle:
    first = authorities[0].authority
    return DomainBundle(first.trust_domain, b"".join(to_pem(a.authority.certificate) for a in authorities))


def trust(*authorities: SigningAuthority, federated: Sequence[SigningAuthority] = ()) -> Trust:
    return Trust.build(domain_bundle(*authorities), [domain_bundle(a) for a in federated])


AUTHORITY = make_authority()


def holder(path: str = "/web") -> Holder:
    """A new certificate."""
    return make_svid(f"spiffe://example.org{path}", AUTHORITY)


def view(
    *holders: Holder, hints: Sequence[str] = (), more: Sequence[SigningAuthority] = (), has_default: bool = True
) -> View:
    """What a caller with these may have; without any it is a web server. `more` are further authorities."""
    chosen = [identity(one) for one in holders or [holder()]]
    return View.build(chosen, trust(AUTHORITY, *more), hints=hints, has_default=has_default)


class Stream:
    """One call of a streaming method."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        method: str = SVIDS,
        metadata: Sequence[tuple[str, str]] = HEADER,
        raw: bytes = b"",
    ) -> None:
        fetch = channel.unary_stream(f"/SpiffeWorkloadAPI/{method}", response_deserializer=RESPONSES[method].FromString)
        self.call = fetch(raw, metadata=metadata)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.call.cancel()

    async def get(self, within: float = 10) -> Message:
        """The next message; raises grpc.aio.AioRpcError where the stream has ended."""
        async with asyncio.timeout(within):
            message = await self.call.read()
        assert message is not grpc.aio.EOF, "the stream has ended well, which it never should"
        return message

    async def silent(self, seconds: float = 0.15) -> None:
        """Nothing is sent for a while."""
        reading = asyncio.ensure_future(self.call.read())
        done, _ = await asyncio.wait({reading}, timeout=seconds)
        assert not done, f"an unexpected message or end: {done}"
        self.pending = reading

    async def awaited(self, within: float = 10) -> Message:
        """What came after `silent`."""
        async with asyncio.timeout(within):
            return await self.pending

    async def ending(self, within: float = 10) -> tuple[grpc.StatusCode, str]:
        """How it ends."""
        async with asyncio.timeout(within):
            try:
                while await self.call.read() is not grpc.aio.EOF:
                    pass
            except grpc.RpcError:
                pass
            return await self.call.code(), await self.call.details() or ""

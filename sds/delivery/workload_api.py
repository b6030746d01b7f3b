"""The SPIFFE Workload API on grpc.aio, for attested callers: its X.509-SVID and JWT-SVID profiles.

SPIFFE Workload API and SPIFFE Workload Endpoint.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import grpc

from attestation.errors import AttestationRefused
from sds.delivery.errors import DeliveryError, InvalidRequest, LimitExceeded, NoIdentity, NotReady, NotSupported
from sds.delivery.messages import NO_IDENTITY
from sds.delivery.places import TOO_MANY, Places
from sds.delivery.ports import Caller, Callers
from sds.delivery.registry import LiveStream
from sds.delivery.session import Context, Surroundings
from sds.delivery.status import INTERNAL, status_of
from sds.delivery.tokens import Tokens
from sds.delivery.workload_jwt import (
    JwtBundleEncoder,
    JwtOrder,
    JwtQuestion,
    answer_order,
    answer_question,
    check_bundles_request,
    read_order,
    read_question,
)
from sds.delivery.workload_messages import WorkloadEncoder, check_request
from sds.delivery.workload_session import Encode, Holding, WorkloadSession

R = TypeVar("R")

SERVICE = "SpiffeWorkloadAPI"
PROTOCOL = "workload-api"
"""Under this name reports and metrics have these streams. Nothing on them is ever acknowledged."""
HEADER = "workload.spiffe.io"

_STOPPING = "the agent is stopping, try again"
_WIT = "the WIT-SVID profile is not supported"
_LEFT = (grpc.aio.UsageError, grpc.aio.InternalError)
"""What grpc.aio raises from a write once the client is gone."""


class WorkloadApi:
    """Add `handlers()` to a grpc.aio server. `places` is shared with the other services of that server."""

    def __init__(self, callers: Callers, around: Surroundings, places: Places, tokens: Tokens) -> None:
        self._callers = callers
        self._around = around
        self._places = places
        self._tokens = tokens
        self._encoder = WorkloadEncoder()
        self._jwt_encoder = JwtBundleEncoder()
        self._sessions: set[WorkloadSession] = set()
        self._closed = False

    @property
    def encodings(self) -> WorkloadEncoder:
        """The bytes of all views in use."""
        return self._encoder

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """One generic handler with raw bytes on both sides. The standard has the service in no package."""
        stream, unary = grpc.unary_stream_rpc_method_handler, grpc.unary_unary_rpc_method_handler
        return (
            grpc.method_handlers_generic_handler(
                SERVICE,
                {
                    "FetchX509SVID": stream(self.fetch_x509_svid),
                    "FetchX509Bundles": stream(self.fetch_x509_bundles),
                    "FetchJWTSVID": unary(self.fetch_jwt_svid),
                    "FetchJWTBundles": stream(self.fetch_jwt_bundles),
                    "ValidateJWTSVID": unary(self.validate_jwt_svid),
                    "FetchWITSVID": stream(self.no_wit),
                    "FetchWITBundles": stream(self.no_wit),
                },
            ),
        )

    def close(self) -> None:
        """End every stream with UNAVAILABLE: some clients never come back after the CANCELLED of a server's stop."""
        self._closed = True
        for session in tuple(self._sessions):
            session.end(NotReady(_STOPPING))

    async def fetch_x509_svid(self, raw: bytes, context: Context) -> None:
        await self._stream(context, self._encoder.svids, partial(check_request, raw, bundles=False))

    async def fetch_x509_bundles(self, raw: bytes, context: Context) -> None:
        await self._stream(context, self._encoder.bundles, partial(check_request, raw, bundles=True))

    async def fetch_jwt_bundles(self, raw: bytes, context: Context) -> None:
        await self._stream(context, self._jwt_encoder.bundles, partial(check_bundles_request, raw))

    async def fetch_jwt_svid(self, raw: bytes, context: Context) -> bytes:
        async def answer(order: JwtOrder, caller: Caller) -> bytes:
            return await answer_order(order, caller.entries, self._tokens)

        return await self._unary(context, partial(read_order, raw), answer)

    async def validate_jwt_svid(self, raw: bytes, context: Context) -> bytes:
        async def answer(question: JwtQuestion, caller: Caller) -> bytes:
            if not caller.entitled():
                raise NoIdentity(NO_IDENTITY)
            return answer_question(question, caller.entries, self._tokens)

        return await self._unary(context, partial(read_question, raw), answer)

    async def no_wit(self, _raw: bytes, context: Context) -> bytes:
        return await self._unsupported(context, _WIT)

    async def _unsupported(self, context: Context, text: str) -> bytes:
        error: DeliveryError = NotSupported(text)
        try:
            self._check_header(context)
        except InvalidRequest as invalid:
            error = invalid
        self._reject(context, error)
        await self._abort(error, context)
        return b""  # abort never returns

    async def _unary(
        self, context: Context, read: Callable[[], R], answer: Callable[[R, Caller], Awaitable[bytes]]
    ) -> bytes:
        try:
            request = self._admit(context, read)
            with self._places.one():
                caller = await self._identify(context)
                caller.view()  # raises for who is gone
                return await self._answered(context, answer(request, caller))
        except Exception as error:  # noqa: BLE001 - every error becomes a status, the unforeseen ones without detail
            await self._abort(error, context)
        return b""  # abort never returns

    async def _answered(self, context: Context, answer: Awaitable[bytes]) -> bytes:
        try:
            return await answer
        except DeliveryError as error:
            self._reject(context, error)
            raise

    async def _stream(self, context: Context, encode: Encode, read: Callable[[], None]) -> None:
        try:
            self._admit(context, read)
            with self._places.one():
                await self._hold(context, await self._identify(context), encode)
        except _LEFT:
            return
        except Exception as error:  # noqa: BLE001 - every error becomes a status, the unforeseen ones without detail
            await self._abort(error, context)

    def _admit(self, context: Context, read: Callable[[], R]) -> R:
        """All that costs next to nothing; gives the request. Raises InvalidRequest, NotReady, LimitExceeded."""
        try:
            self._check_header(context)
            request = read()
            if self._closed:
                raise NotReady(_STOPPING)
            if not self._callers.ready:
                raise NotReady("the agent has not heard from its server yet, try again")
            if self._places.full:
                raise LimitExceeded(TOO_MANY)
        except DeliveryError as error:
            self._reject(context, error)
            raise
        return request

    def _check_header(self, context: Context) -> None:
        """Before anything else (Workload Endpoint, section 3). Raises InvalidRequest."""
        values = [value for key, value in context.invocation_metadata() or () if key == HEADER]
        if values != ["true"]:
            raise InvalidRequest(f"the security header is missing: send the metadata {HEADER}: true")

    async def _identify(self, context: Context) -> Caller:
        try:
            return await self._callers.identify(context.peer())
        except AttestationRefused as refusal:
            self._reject(context, refusal)
            raise

    async def _hold(self, context: Context, caller: Caller, encode: Encode) -> None:
        clock, observer, registry = self._around.clock, self._around.observer, self._around.registry
        holding = Holding()
        stream = LiveStream(registry.next_id(), PROTOCOL, caller, holding, clock.monotonic())
        session = WorkloadSession(self._around, context, caller, encode, holding, stream)
        reason = ""
        registry.add(stream)
        observer.opened(stream)
        self._sessions.add(session)
        try:
            await session.run()
        except _LEFT:
            raise
        except Exception as error:
            reason = status_of(error)[1]
            raise
        finally:
            self._sessions.discard(session)
            registry.remove(stream)
            observer.closed(stream, reason)

    def _reject(self, context: Context, error: Exception) -> None:
        self._around.observer.rejected(context.peer(), PROTOCOL, str(error))

    async def _abort(self, error: Exception, context: Context) -> None:
        """Shedding load is UNAVAILABLE by the standard (Workload Endpoint, section 6)."""
        code, text = status_of(error)
        if (code, text) == INTERNAL:
            self._around.observer.crashed(PROTOCOL, error)
        if isinstance(error, LimitExceeded):
            code = grpc.StatusCode.UNAVAILABLE
        await context.abort(code, text)

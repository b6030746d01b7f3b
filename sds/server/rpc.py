"""The shell around every gRPC method: parse at the edge, a request id, one table from errors to status codes.

Messages arrive and leave as bytes. Then a malformed message is our own INVALID_ARGUMENT, and not whatever grpcio makes
of an exception in a deserialiser.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from attestation.errors import AttestationRefused
from ca.errors import AuthorityUnavailable, CsrRefused, IssuanceRefused, KeyUnwrapFailed
from sds.logs import get_logger, request_context
from sds.server.coalescer import Overloaded
from sds.store.errors import StoreUnavailable

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)
Context = grpc.aio.ServicerContext[Any, Any]

REQUEST_ID = "x-request-id"
INTERNAL = "internal error; the server's log has it under this call's request id"


class CallRefused(Exception):
    """A call that ends with `status`; the message is shown to the caller."""

    def __init__(self, status: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.status = status


STATUS: Mapping[type[Exception], grpc.StatusCode] = {
    AttestationRefused: grpc.StatusCode.UNAUTHENTICATED,
    CsrRefused: grpc.StatusCode.INVALID_ARGUMENT,
    IssuanceRefused: grpc.StatusCode.FAILED_PRECONDITION,
    AuthorityUnavailable: grpc.StatusCode.UNAVAILABLE,
    KeyUnwrapFailed: grpc.StatusCode.UNAVAILABLE,
    StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
"""Every other exception is INTERNAL without detail."""


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """The status and the text that the caller sees for `error`."""
    if isinstance(error, CallRefused):
        return error.status, str(error)
    for kind in type(error).__mro__:
        status = STATUS.get(kind)
        if status is not None:
            return status, str(error)
    return grpc.StatusCode.INTERNAL, INTERNAL


class CallObserver(Protocol):
    """Counts finished calls."""

    def call_finished(self, method: str, status: grpc.StatusCode, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its connection as grpcio names it, the TLS facts of the peer, and the id that its log lines carry."""

    method: str
    peer: str
    auth: Mapping[str, Iterable[bytes]]
    request_id: str


@dataclass(frozen=True, slots=True)
class Unary(Generic[Q, A]):
    request: type[Q]
    handle: Callable[[Q, Call], Awaitable[A]]


@dataclass(frozen=True, slots=True)
class ServerStream(Generic[Q, A]):
    request: type[Q]
    handle: Callable[[Q, Call], AsyncGenerator[A, None]]


@dataclass(frozen=True, slots=True)
class BidiStream(Generic[Q, A]):
    """`handle` may read requests and answer at the same time; it goes on when the requests have ended."""

    request: type[Q]
    handle: Callable[[AsyncIterator[Q], Call], AsyncGenerator[A, None]]


Method = Unary[Any, Any] | ServerStream[Any, Any] | BidiStream[Any, Any]


class Service:
    """A gRPC service made of `methods`; give `handlers` to a server's `add_generic_rpc_handlers`."""

    def __init__(
        self,
        name: str,
        methods: Mapping[str, Method],
        observer: CallObserver,
        monotonic: Callable[[], float],
    ) -> None:
        self.name = name
        self._observer = observer
        self._monotonic = monotonic
        self._log = get_logger(__name__)
        self._handlers = {method: self._bind(method, what) for method, what in methods.items()}

    @property
    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        return (grpc.method_handlers_generic_handler(self.name, self._handlers),)

    def _bind(self, method: str, what: Method) -> grpc.RpcMethodHandler[bytes, bytes]:
        if isinstance(what, BidiStream):

            async def bidi(_: object, context: Context) -> None:
                async def answer(call: Call) -> None:
                    await _send(what.handle(_requests(what.request, context), call), context)

                await self._guard(method, context, answer)

            return grpc.stream_stream_rpc_method_handler(bidi)
        if isinstance(what, Unary):

            async def unary(raw: bytes, context: Context) -> bytes:
                async def answer(call: Call) -> bytes:
                    reply = await what.handle(parse(what.request, raw), call)
                    return bytes(reply.SerializeToString())

                return bytes(await self._guard(method, context, answer))

            return grpc.unary_unary_rpc_method_handler(unary)

        async def stream(raw: bytes, context: Context) -> None:
            async def answer(call: Call) -> None:
                await _send(what.handle(parse(what.request, raw), call), context)

            await self._guard(method, context, answer)

        return grpc.unary_stream_rpc_method_handler(stream)

    async def _guard(self, method: str, context: Context, answer: Callable[[Call], Awaitable[Any]]) -> Any:
        started = self._monotonic()
        status = grpc.StatusCode.CANCELLED
        with request_context() as request_id:
            call = Call(method, context.peer(), context.auth_context(), request_id)
            try:
                reply = await answer(call)
                status = grpc.StatusCode.OK
                return reply
            except Exception as error:  # noqa: BLE001 - the table decides; what it does not know is INTERNAL
                status, text = status_of(error)
                self._note(method, status, text, error)
            finally:
                self._observer.call_finished(method, status, self._monotonic() - started)
            return await context.abort(status, text, trailing_metadata=((REQUEST_ID, call.request_id),))

    def _note(self, method: str, status: grpc.StatusCode, text: str, error: Exception) -> None:
        if status is grpc.StatusCode.INTERNAL:
            self._log.error("call failed", method=method, exc_info=error)
        else:
            self._log.info("call refused", method=method, status=status.name, reason=text)


async def _send(replies: AsyncGenerator[Any, None], context: Context) -> None:
    async with aclosing(replies):
        async for reply in replies:
            await context.write(reply.SerializeToString())


async def _requests(kind: type[Q], context: Context) -> AsyncIterator[Q]:
    """What the client sends, until it has no more to say. Raises CallRefused."""
    while (raw := await context.read()) is not grpc.aio.EOF:
        yield parse(kind, raw)


def parse(kind: type[Q], raw: bytes) -> Q:
    """Read one message. Raises CallRefused (INVALID_ARGUMENT) without repeating any of it."""
    message = kind()
    try:
        message.ParseFromString(raw)
    except DecodeError:
        name = kind.DESCRIPTOR.full_name
        raise CallRefused(grpc.StatusCode.INVALID_ARGUMENT, f"the request is not a {name} message") from None
    return message

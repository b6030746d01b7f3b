"""A stream core with its wire format: the two xDS variants behind one interface for the session."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from sds.delivery.decode import decode_delta, decode_sotw
from sds.delivery.encode import Encoder
from sds.delivery.messages import Effect, Send, SotwRequest
from sds.delivery.stream import DeltaStream, SotwStream, Stream
from sds.delivery.subscription import Limits
from sds.delivery.view import View


class Variant(StrEnum):
    """The four ways to stream secrets, by the names that reports use."""

    SOTW = "sotw"
    DELTA = "delta"
    ADS_SOTW = "ads-sotw"
    ADS_DELTA = "ads-delta"


class Conversation(Protocol):
    """Raw requests in, raw responses out."""

    @property
    def core(self) -> Stream: ...

    def receive(self, raw: bytes, view: View, tick: float) -> list[Effect]:
        """Raises InvalidRequest or LimitExceeded."""
        ...

    def encode(self, send: Send) -> bytes: ...


class SotwConversation:
    """State of the world."""

    __slots__ = ("_encoder", "core")

    def __init__(self, core: SotwStream, encoder: Encoder) -> None:
        self.core = core
        self._encoder = encoder

    def receive(self, raw: bytes, view: View, tick: float) -> list[Effect]:
        return self.core.receive(decode_sotw(raw), view, tick)

    def resume(self, names: tuple[str, ...], view: View, tick: float) -> list[Effect]:
        """As if the client had asked for `names`. Raises InvalidRequest or LimitExceeded."""
        return self.core.receive(SotwRequest(names), view, tick)

    def encode(self, send: Send) -> bytes:
        if send.resource is None:
            raise ValueError("the state of the world has no words for what is not there")
        return self._encoder.sotw(send.resource, send.nonce)


class DeltaConversation:
    """Incremental xDS."""

    __slots__ = ("_encoder", "core")

    def __init__(self, core: DeltaStream, encoder: Encoder) -> None:
        self.core = core
        self._encoder = encoder

    def receive(self, raw: bytes, view: View, tick: float) -> list[Effect]:
        return self.core.receive(decode_delta(raw), view, tick)

    def encode(self, send: Send) -> bytes:
        return self._encoder.delta(send.name, send.resource, send.nonce)


def converse(variant: Variant, stream_id: str, limits: Limits, encoder: Encoder) -> Conversation:
    """A new conversation. Its nonces begin with `stream_id`, so that none is taken for that of another stream."""
    prefix = f"{stream_id}."
    match variant:
        case Variant.SOTW | Variant.ADS_SOTW:
            sotw = SotwStream(nonce_prefix=prefix, limits=limits, typeless=variant is Variant.SOTW)
            return SotwConversation(sotw, encoder)
        case Variant.DELTA | Variant.ADS_DELTA:
            delta = DeltaStream(nonce_prefix=prefix, limits=limits, typeless=variant is Variant.DELTA)
            return DeltaConversation(delta, encoder)

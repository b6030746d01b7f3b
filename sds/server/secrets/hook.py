"""The webhook: whoever changes a secret at its source says so, and all servers look at once.

A call holds no value and no more than names. It proves itself by a signature over its time and its body, so that it can
be neither made up nor repeated, or by a bearer token where the caller cannot sign.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ca.masked import Masked
from sds.clock import Clock
from sds.net.limits import Rate, TokenBuckets
from sds.store.errors import StoreError

PATH = "/v1/secrets/changed"
TIME_HEADER, SIGNATURE_HEADER = "x-sds-time", "x-sds-signature"
WINDOW = 300
"""Seconds that a caller's clock may differ from ours, and so how long calls are remembered."""
BODY_BYTES = 16 * 1024
MAX_NAMES = 100
MAX_REMEMBERED = 100_000
RATE = Rate(per_second=10.0, burst=100)
_WORDS = {401: "who calls is not known", 409: "this call was made before", 429: "too many calls", 503: "try again"}


@dataclass(frozen=True, slots=True)
class HookKeys:
    """At least one is set. `signing`: the shared key of signatures; `bearer`: the token."""

    signing: Masked[bytes] | None = field(default=None, repr=False)
    bearer: Masked[bytes] | None = field(default=None, repr=False)


class HookObserver(Protocol):
    """`outcome`: accepted, unauthenticated, replayed, too_many, malformed or failed."""

    def secret_hook(self, outcome: str) -> None: ...


class HookRefused(Exception):
    """`outcome` is for metrics; the caller learns the status alone."""

    def __init__(self, status: int, outcome: str) -> None:
        super().__init__(outcome)
        self.status = status
        self.outcome = outcome


class SecretHook:
    """`refresh` is told the names; it may raise StoreError."""

    def __init__(
        self,
        keys: HookKeys,
        refresh: Callable[[Sequence[str]], Awaitable[None]],
        clock: Clock,
        observer: HookObserver,
    ) -> None:
        self._keys = keys
        self._refresh = refresh
        self._clock = clock
        self._observer = observer
        self._rate = TokenBuckets(RATE, max_keys=1)
        self._remembered: OrderedDict[str, float] = OrderedDict()

    def routes(self) -> list[BaseRoute]:
        return [Route(PATH, self.call, methods=["POST"], name="hook")]

    async def call(self, request: Request) -> Response:
        """One call; the listener has bounded its body."""
        try:
            names = self.accept(
                await request.body(),
                request.headers.get("authorization", ""),
                request.headers.get(TIME_HEADER, ""),
                request.headers.get(SIGNATURE_HEADER, ""),
            )
            try:
                await self._refresh(names)
            except StoreError:
                raise HookRefused(503, "failed") from None
        except HookRefused as refused:
            self._observer.secret_hook(refused.outcome)
            return PlainTextResponse(_WORDS.get(refused.status, "not understood"), refused.status)
        self._observer.secret_hook("accepted")
        return Response(status_code=202)

    def accept(self, unverified_body: bytes, authorization: str, time: str, signature: str) -> list[str]:
        """The names that the call is about. Raises HookRefused.

        1. It is of who has the key or the token, told in constant time. 2. A signed one is of now, and the first of its
        kind. 3. There are not too many. 4. It names secrets.
        """
        if self._bearer_fits(authorization):  # 1
            signed = False
        elif self._signature_fits(unverified_body, time, signature):
            signed = True
        else:
            raise HookRefused(401, "unauthenticated")
        if signed:  # 2
            self._check_time(time)
            self._check_first(signature)
        if not self._rate.take("", self._clock.monotonic()):  # 3
            raise HookRefused(429, "too_many")
        return parse_names(unverified_body)  # 4

    def _bearer_fits(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        if self._keys.bearer is None or scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(token.strip().encode(), self._keys.bearer.reveal())

    def _signature_fits(self, body: bytes, time: str, signature: str) -> bool:
        if self._keys.signing is None:
            return False
        wanted = sign(self._keys.signing, time, body)
        return hmac.compare_digest(wanted.encode(), signature.encode())

    def _check_time(self, time: str) -> None:
        if not time.isascii() or not time.isdigit() or len(time) > 12:
            raise HookRefused(401, "unauthenticated")
        if abs(self._clock.now().timestamp() - int(time)) > WINDOW:
            raise HookRefused(401, "unauthenticated")

    def _check_first(self, signature: str) -> None:
        now = self._clock.monotonic()
        while self._remembered and next(iter(self._remembered.values())) + 2 * WINDOW < now:
            self._remembered.popitem(last=False)
        if signature in self._remembered:
            raise HookRefused(409, "replayed")
        if len(self._remembered) >= MAX_REMEMBERED:  # forgetting one would let it be repeated
            raise HookRefused(429, "too_many")
        self._remembered[signature] = now


def sign(key: Masked[bytes], time: str, body: bytes) -> str:
    """HMAC-SHA256 (RFC 2104) over the time (seconds since 1970), a dot and the body."""
    return "sha256=" + hmac.new(key.reveal(), time.encode() + b"." + body, hashlib.sha256).hexdigest()


def parse_names(unverified_body: bytes) -> list[str]:
    """``{"names": ["db-password"]}``. Raises HookRefused."""
    try:
        found = json.loads(unverified_body)
    except (ValueError, RecursionError):
        raise HookRefused(400, "malformed") from None
    names = found.get("names") if isinstance(found, dict) else None
    if not isinstance(names, list) or not 0 < len(names) <= MAX_NAMES:
        raise HookRefused(400, "malformed")
    if not all(isinstance(name, str) and 0 < len(name) <= 128 for name in names):
        raise HookRefused(400, "malformed")
    return list(dict.fromkeys(names))

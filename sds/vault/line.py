"""Every request passes here, with whatever token: the circuit breaker, the parsing, the counting. Blocks."""

from __future__ import annotations

from threading import Lock
from typing import Protocol

from ca.masked import Masked
from sds.clock import Clock
from sds.vault.answers import VaultAnswer, read_reply
from sds.vault.breaker import Breaker, BreakerRules
from sds.vault.call import Call
from sds.vault.errors import Replay, VaultDenied, VaultError, VaultNotFound, VaultRefused, VaultUnavailable
from sds.vault.http import Transport

OUTCOMES = ("success", "denied", "not_found", "refused", "unavailable")
_OUTCOMES: dict[type[VaultError], str] = {
    VaultDenied: "denied",
    VaultNotFound: "not_found",
    VaultRefused: "refused",
    VaultUnavailable: "unavailable",
}
_ALIVE = frozenset({200, 400, 412, 429, 500})
"""One engine that fails (500), or a quota that is used up (429), says nothing against all the others."""


class VaultObserver(Protocol):
    """Is told of every request, and whether Vault can be used. Called from any thread."""

    def vault_request(self, method: str, operation: str, outcome: str, seconds: float) -> None:
        """`operation` is one of sds.vault.call.OPERATIONS, `outcome` one of OUTCOMES."""
        ...

    def vault_up(self, up: bool) -> None: ...

    def vault_token(self, seconds: float | None) -> None:
        """Our own token lives for so long from now on; None: for ever; 0: there is none."""
        ...


class Line:
    """One Vault. After several failures in a row it is left alone for a while, whoever asks."""

    def __init__(self, transport: Transport, rules: BreakerRules, clock: Clock, observer: VaultObserver) -> None:
        self._transport = transport
        self._clock = clock
        self._observer = observer
        self._lock = Lock()
        self._breaker = Breaker(rules)
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Why the last request was not answered, safe to show; None: it was."""
        return self._problem

    @property
    def rests(self) -> float:
        """Seconds for which nothing will be sent."""
        with self._lock:
            return self._breaker.wait(self._clock.monotonic())

    def renew(self) -> None:
        """Read certificate files anew."""
        self._transport.renew()

    def close(self) -> None:
        self._transport.close()

    def exchange(self, call: Call, token: Masked[str] | None) -> VaultAnswer:
        """Send it once. Raises VaultError."""
        started = self._admit()
        outcome = "unavailable"
        failed: VaultUnavailable | None = None
        try:
            answer = read_reply(self._transport.send(call, token), call)
            outcome = "success"
            return answer
        except VaultError as error:
            outcome = _OUTCOMES[type(error)]
            if isinstance(error, VaultUnavailable) and error.status not in _ALIVE:
                failed = error
            raise
        finally:
            self._learn(failed)
            self._observer.vault_request(call.method, call.operation, outcome, self._clock.monotonic() - started)

    def _admit(self) -> float:
        now = self._clock.monotonic()
        with self._lock:
            if not self._breaker.admits(now):
                raise VaultUnavailable(
                    f"Vault is left alone after {self._breaker.failures} failures; the last: {self._problem}",
                    retry_after=self._breaker.wait(now),
                    replay=Replay.NEVER,
                )
            self._breaker = self._breaker.sent(now)
        return now

    def _learn(self, failed: VaultUnavailable | None) -> None:
        now = self._clock.monotonic()
        with self._lock:
            if failed is None:
                self._breaker, self._problem = self._breaker.succeeded(), None
            else:
                self._breaker, self._problem = self._breaker.failed(now, self._clock.jitter()), str(failed)
        self._observer.vault_up(failed is None)

"""The server's client of Vault: within a budget, in threads of its own, with a token that it keeps alive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Any, TypeVar

from ca.masked import Masked
from sds.clock import Clock
from sds.vault.answers import VaultAnswer, VaultAuth
from sds.vault.budget import Budget
from sds.vault.call import Call, make_call
from sds.vault.errors import Replay, VaultError, VaultUnavailable
from sds.vault.line import Line
from sds.vault.retry import RetryRules
from sds.vault.session import Session

__all__ = ["ClientOptions", "VaultAnswer", "VaultAuth", "VaultClient"]

T = TypeVar("T")
_HEALTH = replace(
    make_call("GET", "sys/health", params={"standbyok": "true", "perfstandbyok": "true"}), namespaced=False
)
_RETRIES = RetryRules()
_ANY, _BLOCKING = "any", "blocking"
"""Whose budget: requests of the event loop, and of worker threads."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """`longest_wait`: seconds that a request waits at most for its turn. `watch`: between two looks at Vault."""

    requests_per_second: float = 50.0
    burst: float = 50.0
    longest_wait: float = 10.0
    max_waiting: int = 1000
    threads: int = 8
    retries: RetryRules = _RETRIES
    watch: float = 5.0


class VaultClient:
    """Give it to whoever needs Vault. `run` keeps the token alive; without it one is got when it is first needed."""

    def __init__(self, session: Session, line: Line, options: ClientOptions, clock: Clock) -> None:
        self._session = session
        self._line = line
        self._options = options
        self._clock = clock
        self._lock = Lock()
        full = Budget.full(options.requests_per_second, options.burst, clock.monotonic())
        self._budgets = {_ANY: full, _BLOCKING: full}
        self._waiting = 0
        self._threads = ThreadPoolExecutor(options.threads, thread_name_prefix="sds-vault")
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="sds-vault-token")

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        token: Masked[str] | None = None,
    ) -> VaultAnswer:
        """`method` is GET, POST, PUT, PATCH, DELETE or LIST; `path` lacks "/v1/" and is not quoted; values of `body`
        may be masked. `token`: instead of our own. Raises VaultError.

        Whoever is cancelled does not know whether Vault has done it.
        """
        call = make_call(method, path, body, params)
        failures = 0
        with self._place():
            while True:
                await asyncio.sleep(self._turn(_ANY))
                try:
                    return await self._in_thread(self._threads, partial(self._session.send, call, token))
                except VaultUnavailable as error:
                    failures += 1
                    await asyncio.sleep(self._pause_after(error, failures, call))

    def request_blocking(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        token: Masked[str] | None = None,
    ) -> VaultAnswer:
        """The same for worker threads, and not to be called in the event loop's. The CA's keys sign by it, so it has a
        budget of its own: whoever asks for secrets without end holds up no certificate.
        """
        call = make_call(method, path, body, params)
        failures = 0
        with self._place():
            while True:
                time.sleep(self._turn(_BLOCKING))
                try:
                    return self._session.send(call, token)
                except VaultUnavailable as error:
                    failures += 1
                    time.sleep(self._pause_after(error, failures, call))

    async def run(self) -> None:
        """Keep our token alive, and know whether Vault can be used, until cancelled."""
        while True:
            wait: float | None = None
            with suppress(VaultError):  # the session and the line have told of it
                wait = await self._in_thread(self._keeper, self._tend)
            pause = self._options.watch if wait is None else min(wait, self._options.watch)
            await asyncio.sleep(max(pause, self._options.watch / 10) * (0.9 + 0.1 * self._clock.jitter()))

    async def close(self) -> None:
        """Requests that are under way are not waited for. Our token is not revoked: what hangs on it lives on."""
        self._line.close()
        for pool in (self._threads, self._keeper):
            pool.shutdown(wait=False, cancel_futures=True)

    def problem(self) -> str | None:
        """Why Vault is known to be out of use, safe to show; None: nothing is known against it."""
        return self._line.problem or self._session.problem

    async def readiness(self) -> str | None:
        """As an sds.http.ops.Check."""
        return self.problem()

    def _tend(self) -> float | None:
        """Seconds until our token needs something; None: nothing is known of that. Raises VaultError."""
        if self._line.rests:
            return None
        with suppress(VaultError):  # where Vault was left alone, this is the trial that ends it
            self._line.exchange(_HEALTH, None)
        return self._session.keep() if self._line.problem is None else None

    def _turn(self, kind: str) -> float:
        """Seconds until it is this request's turn. Raises VaultUnavailable."""
        with self._lock:
            self._budgets[kind], wait = self._budgets[kind].take(self._clock.monotonic(), self._options.longest_wait)
        if wait is None:
            raise VaultUnavailable(
                f"more is asked of Vault than {self._options.requests_per_second:g} requests a second",
                retry_after=self._options.longest_wait,
                replay=Replay.NEVER,
            )
        return wait

    def _pause_after(self, error: VaultUnavailable, failures: int, call: Call) -> float:
        """Seconds. Raises the error where there is no other try."""
        pause = self._options.retries.pause(error, failures, call.idempotent, self._clock.jitter())
        if pause is None:
            raise error
        return pause

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Raises VaultUnavailable if too many wait already."""
        with self._lock:
            if self._waiting >= self._options.max_waiting:
                raise VaultUnavailable("too many requests wait for Vault", replay=Replay.NEVER)
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1

    async def _in_thread(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except RuntimeError:
            raise VaultUnavailable("the connection to Vault was closed", replay=Replay.NEVER) from None

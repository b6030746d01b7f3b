"""Our own token: got by logging in, renewed in time, replaced when it ends or is revoked. Blocks; for any thread."""

from __future__ import annotations

from collections.abc import Hashable
from threading import RLock
from typing import NoReturn

from ca.masked import Masked
from sds.backoff import Backoff
from sds.clock import Clock
from sds.logs import get_logger
from sds.vault.answers import VaultAnswer
from sds.vault.auth.method import AuthMethod, CredentialUnusable
from sds.vault.call import Call, make_call
from sds.vault.errors import Replay, VaultDenied, VaultError, VaultRefused, VaultUnavailable
from sds.vault.lifetime import Due, HeldToken
from sds.vault.line import Line, VaultObserver

TRUSTED_FOR = 1.0
"""Seconds for which a token that Vault has confirmed is not asked about again when something is denied."""
FRESH_FOR = 60.0
"""The same for one that was just got and did not help: it is the policies that deny."""
_PAST_ITS_END = 500
"""What Vault answers to the renewal of a token that has reached its longest lifetime."""


class Session:
    """Logs in when a token is first needed. While that fails nobody tries again before a growing pause is over."""

    def __init__(self, line: Line, method: AuthMethod, backoff: Backoff, clock: Clock, observer: VaultObserver) -> None:
        self._line = line
        self._method = method
        self._backoff = backoff
        self._clock = clock
        self._observer = observer
        self._lock = RLock()
        self._held: HeldToken | None = None
        self._stamp: Hashable = None
        self._adopted = True
        self._trusted_until = 0.0
        self._failures = 0
        self._next_try = 0.0
        self._problem: str | None = None
        self._log = get_logger(__name__)

    @property
    def problem(self) -> str | None:
        """Why we have no token, or none for long, safe to show."""
        return self._problem

    def send(self, call: Call, token: Masked[str] | None = None) -> VaultAnswer:
        """Send it with this token or our own; once more if ours had ended and another was got. Raises VaultError."""
        if token is not None:
            return self._line.exchange(call, token)
        held = self._current()
        try:
            return self._line.exchange(call, held.token)
        except VaultDenied:
            other = self._replacement(held)
            if other is None:
                raise
        try:
            return self._line.exchange(call, other.token)
        except VaultDenied:
            self._trusted_until = self._clock.monotonic() + FRESH_FOR
            raise

    def keep(self) -> float | None:
        """Do what is due about our token. Seconds until something is again; None: nothing. Raises VaultError."""
        with self._lock:
            now = self._clock.monotonic()
            if self._credential_changed():
                self._failures, self._next_try, self._adopted = 0, now, False
            held = self._drop_ended(now)
            stale = self._method.keeps_token and not self._adopted
            due = Due.LOGIN if held is None or stale else held.due(now)
            if due is not Due.NOTHING:
                if now < self._next_try:
                    return self._next_try - now
                if due is Due.RENEWAL and held is not None:
                    self._renew(held)
                else:
                    self._login()
            held = self._held
            due_at = None if held is None else held.due_at
            return None if due_at is None else max(0.0, due_at - self._clock.monotonic())

    def _current(self) -> HeldToken:
        held = self._held
        if held is not None and not held.ended(self._clock.monotonic()):
            return held
        with self._lock:
            now = self._clock.monotonic()
            held = self._drop_ended(now)
            if held is not None:
                return held
            if now < self._next_try and not self._credential_changed():
                raise VaultUnavailable(
                    self._problem or "there is no token for Vault",
                    retry_after=self._next_try - now,
                    replay=Replay.NEVER,
                )
            return self._login()

    def _replacement(self, refused: HeldToken) -> HeldToken | None:
        """Something was denied: another token if it was for ours, which Vault does not know any more."""
        with self._lock:
            if self._held is not None and self._held is not refused:
                return self._held
            if self._clock.monotonic() < self._trusted_until:
                return None
            try:
                self._line.exchange(make_call("GET", "auth/token/lookup-self"), refused.token)
            except VaultDenied:
                self._log.warning("Vault does not know our token any more", method=self._method.name)
                self._held = None
                return self._current()
            except VaultError:
                return None
            self._trusted_until = self._clock.monotonic() + TRUSTED_FOR
            return None

    def _login(self) -> HeldToken:
        """Raises VaultError."""
        asked = self._clock.monotonic()
        self._stamp, self._adopted = self._method.stamp(), False
        try:
            auth = self._method.login(self._line.exchange)
        except CredentialUnusable as error:
            self._failed(str(error), None)
        except VaultError as error:
            self._failed(f"logging in to Vault with {self._method.name} failed: {error}", error)
        held = HeldToken.of(auth, asked, self._clock.jitter())
        self._hold(held)
        self._adopted = True
        self._log.info(
            "logged in to Vault",
            method=self._method.name,
            seconds=auth.lease_seconds,
            renewable=auth.renewable,
            policies=list(auth.policies),
        )
        if held.seconds and self._method.keeps_token and not held.renewable:
            self._log.warning("the token in the file cannot be renewed; it has to be replaced before it ends")
        return held

    def _renew(self, held: HeldToken) -> None:
        """Raises VaultError."""
        asked = self._clock.monotonic()
        try:
            auth = self._line.exchange(make_call("POST", "auth/token/renew-self", {}), held.token).auth
        except (VaultDenied, VaultRefused):
            auth = None
        except VaultUnavailable as error:
            if error.status != _PAST_ITS_END:
                self._failed(f"renewing our token for Vault failed: {error}", error)
            auth = None
        if auth is None:  # revoked, or at the end of its longest lifetime
            self._login()
            return
        self._hold(held.renewed(auth, asked, self._clock.jitter()))
        if self._held is not None and self._held.due(self._clock.monotonic()) is not Due.NOTHING:
            self._login()

    def _hold(self, held: HeldToken) -> None:
        now = self._clock.monotonic()
        self._held = held
        self._failures, self._next_try = 0, 0.0
        if self._problem is not None:
            self._log.info("there is a token for Vault again", method=self._method.name)
        self._problem = None
        self._observer.vault_token(held.left(now))

    def _failed(self, problem: str, error: VaultError | None) -> NoReturn:
        self._failures += 1
        now = self._clock.monotonic()
        pause = self._backoff.delay(self._failures, self._clock.jitter()).total_seconds()
        if isinstance(error, VaultUnavailable) and error.retry_after is not None:
            pause = max(pause, error.retry_after)
        self._next_try = now + pause
        if problem != self._problem:
            self._log.error("there is no good token for Vault; this is tried again", reason=problem)
        self._problem = problem
        status = None if error is None else error.status
        raise VaultUnavailable(problem, status=status, retry_after=pause, replay=Replay.NEVER)

    def _credential_changed(self) -> bool:
        return self._stamp is not None and self._method.stamp() != self._stamp

    def _drop_ended(self, now: float) -> HeldToken | None:
        if self._held is not None and self._held.ended(now):
            self._held = None
            self._observer.vault_token(0.0)
        return self._held

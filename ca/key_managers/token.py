"""One logged-in session with a PKCS #11 token: opened when it is needed, opened again when it was lost.

The binding initialises Cryptoki for one thread at a time (C_Initialize without arguments: PKCS #11 2.40, section 5.4),
so all calls go through one lock, and one session does as much as many would. What a module keeps belongs to the whole
process: a process has one `TokenSession` a module.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import pkcs11
from pkcs11 import PKCS11Error, Session, Token, TokenFlag
from pkcs11 import exceptions as failures

from ca.errors import AuthorityUnavailable
from ca.masked import Masked

T = TypeVar("T")

RETRY_AFTER = 1.0
"""Seconds in which nobody tries again what has just failed: a vendor's module may take long to say no."""
RELOAD_AFTER = 30.0
"""Seconds between two times that the module is initialised anew. The binding does it while all of Python waits."""

_ANSWERS = (
    failures.AttributeReadOnly,
    failures.AttributeTypeInvalid,
    failures.AttributeValueInvalid,
    failures.DataInvalid,
    failures.DataLenRange,
    failures.DomainParamsInvalid,
    failures.FunctionNotSupported,
    failures.FunctionRejected,
    failures.KeySizeRange,
    failures.KeyTypeInconsistent,
    failures.MechanismInvalid,
    failures.MechanismParamInvalid,
    failures.TemplateIncomplete,
    failures.TemplateInconsistent,
    failures.TokenWriteProtected,
)
"""What a healthy token says of a request that it does not like. Anything else may be the end of the session."""

_WRONG_PIN = (failures.PinIncorrect, failures.PinInvalid, failures.PinLenRange)


class KeyNotFound(Exception):
    """The token answers and has no such key. Some modules say so, too, when the token was taken away under them."""


@dataclass(frozen=True, slots=True)
class TokenConfig:
    """Which token, and how to get into it."""

    module: str
    """Path of the vendor's PKCS #11 library."""
    label: str
    """The label that the token was initialised with."""
    pin: Callable[[], Masked[str]]
    """Reads the user PIN, anew for each login. Raises AuthorityUnavailable."""
    serial: str = ""
    """Serial number, for when several tokens have the label."""
    timeout: timedelta = timedelta(seconds=10)
    """How long a call waits for those before it."""


class TokenSession:
    """Blocks: call it from a worker thread."""

    def __init__(self, config: TokenConfig, monotonic: Callable[[], float]) -> None:
        """`monotonic` gives seconds that never go back."""
        self._config = config
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._loaded = False
        self._not_before = float("-inf")
        self._reload_not_before = float("-inf")
        self._refused_pin = b""
        self._name = f"the PKCS #11 token {config.label!r}"
        self.opened = 0
        """How many sessions there have been. An object's handle is good within one."""
        self.problem: str | None = None
        """Why the token is known to be out of reach; None after it has answered."""

    def run(self, work: Callable[[Session], T]) -> T:
        """What `work` gives. If it fails as in a lost session, it is done again in a new one, at most twice: first the
        session is opened anew, then, now and then, the whole module, as some do not notice that their token is back.

        Raises AuthorityUnavailable, or KeyNotFound if `work` raises it in the new session, too.
        """
        with self._held():
            lost: Exception | None = None
            for open_session in self._ways():
                try:
                    if open_session is not None:
                        self._session = self._opened(open_session)
                    assert self._session is not None  # noqa: S101 - without one, the first way is to open one
                    result = work(self._session)
                except _ANSWERS as error:
                    raise AuthorityUnavailable(f"{self._name} refuses: {_said(error)}") from error
                except (PKCS11Error, KeyNotFound) as error:
                    lost = error
                else:
                    self.problem = None
                    return result
            if isinstance(lost, KeyNotFound):
                self.problem = None
                raise lost
            raise self._out_of_reach(f"{self._name} cannot be used: {_said(lost)}") from lost

    def close(self) -> None:
        """Log out and unload. A later `run` opens all again."""
        with self._held():
            self._drop()
            if self._loaded:
                self._finalize()

    @contextmanager
    def _held(self) -> Iterator[None]:
        seconds = self._config.timeout.total_seconds()
        if not self._lock.acquire(timeout=seconds):
            self.problem = f"{self._name} has not answered for {seconds:g} s"
            raise AuthorityUnavailable(self.problem)
        try:
            yield
        finally:
            self._lock.release()

    def _ways(self) -> Iterator[Callable[[], Session] | None]:
        """To a session, the next one after each that failed; None: the one that is open."""
        if self._session is not None:
            yield None
        elif self._monotonic() < self._not_before and self.problem is not None:
            raise AuthorityUnavailable(self.problem)
        yield self._open
        if self._monotonic() >= self._reload_not_before:
            self._reload_not_before = self._monotonic() + RELOAD_AFTER
            yield self._open_module

    def _opened(self, open_session: Callable[[], Session]) -> Session:
        """Raises PKCS11Error, or AuthorityUnavailable for what another try would not change."""
        try:
            return open_session()
        except AuthorityUnavailable as error:
            raise self._out_of_reach(str(error)) from error
        except _ANSWERS as error:
            raise self._out_of_reach(f"{self._name} cannot be opened: {_said(error)}") from error

    def _out_of_reach(self, problem: str) -> AuthorityUnavailable:
        self._drop()
        self.problem = problem
        self._not_before = self._monotonic() + RETRY_AFTER
        return AuthorityUnavailable(problem)

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(PKCS11Error):
                session.close()

    def _open_module(self) -> Session:
        self._drop()
        if self._loaded:
            self._finalize()
        return self._open()

    def _finalize(self) -> None:
        with suppress(PKCS11Error):  # it may not be initialised, or no more
            pkcs11.lib(self._config.module).finalize()
        self._loaded = False

    def _open(self) -> Session:
        """Raises PKCS11Error, or AuthorityUnavailable where only people can help."""
        self._drop()
        token = self._find()
        pin = self._config.pin()
        digest = hashlib.sha256(pin.reveal().encode()).digest()
        self._check_pin(token, digest)
        try:
            session = token.open(rw=True, user_pin=pin.reveal())
        except _WRONG_PIN:
            self._refused_pin = digest
            raise AuthorityUnavailable(
                f"{self._name} refuses the PIN; it is not tried again before the PIN file changes"
            ) from None
        except failures.PinLocked:
            raise AuthorityUnavailable(f"{self._name} has locked its PIN: unlock it") from None
        self._refused_pin = b""
        self.opened += 1
        return session

    def _check_pin(self, token: Token, digest: bytes) -> None:
        """Tokens lock themselves after a few wrong PINs, and a service that tries on would see to that."""
        if digest == self._refused_pin:
            raise AuthorityUnavailable(f"{self._name} has refused the PIN; put the right one into the PIN file")
        if token.flags & TokenFlag.USER_PIN_LOCKED:
            raise AuthorityUnavailable(f"{self._name} has locked its PIN: unlock it")
        if token.flags & TokenFlag.USER_PIN_FINAL_TRY:
            raise AuthorityUnavailable(
                f"{self._name} locks itself at the next wrong PIN: log in once by hand to show that you know it"
            )

    def _find(self) -> Token:
        wanted = self._config.serial.encode()
        self._loaded = True
        found = [
            token
            for slot in pkcs11.lib(self._config.module).get_slots(token_present=True)
            if (token := slot.get_token()).label == self._config.label and wanted in (b"", token.serial)
        ]
        if not found:
            raise failures.NoSuchToken("there is no such token")
        if len(found) > 1:
            raise AuthorityUnavailable(f"{len(found)} tokens are called {self._config.label!r}: name one by its serial")
        return found[0]


def _said(error: Exception | None) -> str:
    """The name of PKCS #11's answer, and its text where there is one; neither ever holds a secret."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

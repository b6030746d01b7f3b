"""How the agent gets its first SVID, and the next one after it let the last expire: evidence for a certificate."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from attestation.errors import AttestationError
from attestation.node.join_token import TYPE
from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle, parse_pem, parse_spiffe_json
from ca.csr import build_csr
from ca.errors import CaError
from ca.keys import KeyType, generate, to_pkcs8_pem
from ca.masked import Masked
from ca.verify import verify_svid
from sds._pb.sds.node.v1 import node_pb2
from sds.agent import convert
from sds.agent.dial import LinkOptions, attest
from sds.agent.errors import (
    HOW_TO_ATTEST,
    AgentError,
    AttestationFailed,
    CannotStart,
    InvalidAnswer,
    ServerUnreachable,
)
from sds.agent.identity import AgentIdentity
from sds.backoff import Backoff
from sds.clock import Clock
from sds.logs import Logger

MAX_TOKEN_BYTES = 4096
TOKEN_POLL = timedelta(seconds=10)
"""Between looks for a new token while there is none to use."""
_UNNAMED = TrustDomain("unnamed")  # a PEM bundle does not say whose it is, and TLS does not ask


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Where and with what to attest. `stored` gives what the agent is by now, if it ever was something, and may raise
    AgentError; its bundle serves unless a `trust_bundle` file was written since.
    """

    address: str
    trust_bundle: Path | None
    join_token_file: Path | None
    stored: Callable[[], AgentIdentity | None] = lambda: None


class Enroller:
    """Attests with the join token."""

    def __init__(
        self,
        enrolment: Enrolment,
        options: LinkOptions,
        backoff: Backoff,
        clock: Clock,
        log: Logger,
        token_poll: timedelta = TOKEN_POLL,
    ) -> None:
        self._enrolment = enrolment
        self._options = options
        self._backoff = backoff
        self._clock = clock
        self._log = log
        self._token_poll = token_poll
        self._warned = False  # about the token file's mode
        self._refused: set[bytes] = set()  # digests of tokens that are no use any more

    async def first(self) -> AgentIdentity:
        """Attest now, however long the server takes to come up. Raises CannotStart."""
        failures = 0
        while True:
            try:
                return await self._attest(self._token())
            except ServerUnreachable as error:
                failures += 1
                delay = self._backoff.delay(failures, self._clock.jitter())
                self._log.warning("the server cannot be reached to attest", reason=str(error), retry_in=_seconds(delay))
                await asyncio.sleep(delay.total_seconds())
            except AttestationFailed as error:
                raise CannotStart(f"the server refused this agent: {error}; {HOW_TO_ATTEST}") from error
            except AgentError as error:
                raise CannotStart(str(error)) from error

    async def once(self) -> AgentIdentity:
        """One try. Raises AgentError."""
        return await self._attest(self._token())

    async def again(self) -> AgentIdentity:
        """Wait for a token that was not refused yet in the file that was named at the start, and attest with it."""
        failures, told = 0, ""
        while True:
            delay = self._token_poll
            try:
                return await self._attest(self._token())
            except ServerUnreachable as error:
                failures += 1
                delay = self._backoff.delay(failures, self._clock.jitter())
                reason = str(error)
            except AttestationFailed as error:
                reason = f"{error}; {HOW_TO_ATTEST}"
            except AgentError as error:
                reason = str(error)
            if reason != told:
                self._log.error("this agent's SVID has expired and it cannot attest", reason=reason)
                told = reason
            await asyncio.sleep(delay.total_seconds())

    def _token(self) -> Masked[bytes]:
        """Raises CannotStart when there is no token to try."""
        path = self._enrolment.join_token_file
        if path is None:
            raise CannotStart(f"this agent has no valid SVID and no join token to get one; {HOW_TO_ATTEST}")
        try:
            with path.open("rb") as file:
                token = file.read(MAX_TOKEN_BYTES + 1).strip()
                mode = os.fstat(file.fileno()).st_mode
        except OSError as error:
            raise CannotStart(f"the join token file {path} cannot be read: {error.strerror}") from None
        if not token or len(token) > MAX_TOKEN_BYTES:
            raise CannotStart(f"the join token file {path} holds no token; {HOW_TO_ATTEST}")
        if hashlib.sha256(token).digest() in self._refused:
            raise CannotStart(f"the server has refused the token in {path} before; {HOW_TO_ATTEST}")
        self._warn(path, mode)
        return Masked(token)

    def _warn(self, path: Path, mode: int) -> None:
        """Not refused: secrets mounted by others are often readable by a group that has nobody else in it."""
        if mode & (stat.S_IRGRP | stat.S_IROTH) and not self._warned:
            self._warned = True
            self._log.warning(
                "others may read the join token file, and whoever uses the token first is this agent; chmod 600 it",
                path=str(path),
                mode=f"{stat.S_IMODE(mode):04o}",
            )

    async def _attest(self, token: Masked[bytes]) -> AgentIdentity:
        """Raises AgentError."""
        roots = self._roots()
        key = await asyncio.to_thread(generate, KeyType.ECDSA_P256)
        request = node_pb2.AttestRequest(type=TYPE, payload=token.reveal(), csr=build_csr(key))
        try:
            answer = await attest(self._enrolment.address, roots.pem(), request, self._options)
        except AttestationFailed:
            self._refused.add(hashlib.sha256(token.reveal()).digest())
            raise
        return accept(answer.svid, answer.bundle, to_pkcs8_pem(key), self._clock)

    def _roots(self) -> TrustBundle:
        """The bundle that was kept current through rotations, or the file if somebody gave a newer one."""
        path, stored = self._enrolment.trust_bundle, self._stored()
        if stored is not None and (path is None or not _written_since(path, stored.svid.not_before)):
            return stored.bundle
        if path is None:
            raise CannotStart(
                "this agent does not know its server's trust bundle: save what `sds bundle show` prints there "
                "and start the agent with --trust-bundle FILE"
            )
        return read_bundle(path)

    def _stored(self) -> AgentIdentity | None:
        try:
            return self._enrolment.stored()
        except AgentError:  # told at the start; the file has to do
            return None


def accept(
    svid: node_pb2.X509Svid, bundle: node_pb2.Bundle, private_key_pem: Masked[bytes], clock: Clock
) -> AgentIdentity:
    """Judge what the server gave us for our key. Raises InvalidAnswer, IdentityUnusable."""
    trusted = convert.bundle(bundle)
    identity = AgentIdentity(convert.svid(svid.certificate_chain), private_key_pem, trusted)
    try:
        verify_svid(identity.svid, trusted, clock.now())
    except CaError as error:
        raise InvalidAnswer(f"{error}; is this host's clock right?") from None
    return identity


def read_bundle(path: Path) -> TrustBundle:
    """A bundle file in either form. Raises CannotStart."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CannotStart(f"the trust bundle {path} cannot be read: {error.strerror}") from None
    try:
        parse = parse_spiffe_json if content.lstrip().startswith(b"{") else parse_pem
        bundle = parse(_UNNAMED, content)
    except (CaError, AttestationError) as error:
        raise CannotStart(f"the trust bundle {path} cannot be used: {error}") from None
    if not bundle.x509_authorities:
        raise CannotStart(f"the trust bundle {path} holds no X.509 authority")
    return bundle


def _written_since(path: Path, moment: datetime) -> bool:
    """A file that cannot be looked at counts: who reads it says why it cannot be used."""
    try:
        return path.stat().st_mtime > moment.timestamp()
    except OSError:
        return True


def _seconds(span: timedelta) -> float:
    return round(span.total_seconds(), 2)

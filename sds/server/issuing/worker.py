"""A process that parses CSRs, builds leaves and signs them for its server. It does nothing else and has no files.

python -P -m sds.server.issuing.worker DESCRIPTOR

It holds the active authority's key in memory as the server itself does, dumps no core, and ends when the server's end
of the socket is closed, however that happened. Signals meant for the whole group are the server's business.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import socket
import sys
from functools import lru_cache
from typing import Any

from attestation.spiffe_id import SpiffeId
from ca.authority import SigningAuthority
from ca.errors import AuthorityUnavailable, CaError
from ca.intent import IssuedCertificate
from ca.issuer import Issuer, Prepared
from ca.keys import from_pkcs8_der
from ca.masked import Masked
from ca.serial import RandomSerials
from ca.signer import LocalSigner
from sds.lifecycle import disable_core_dumps
from sds.server.issuing.frames import Frame, from_error, from_moment, receive, send, to_moment, to_span
from sds.server.issuing.orders import Order, prepare_orders

MAX_BATCHES = 64
"""Prepared and not yet signed; the oldest is forgotten, as its caller must have been."""

_spiffe_id = lru_cache(4096)(SpiffeId.parse)


class Worker:
    """Answers one frame with one frame."""

    def __init__(self, issuer: Issuer, max_csr_bytes: int) -> None:
        self._issuer = issuer
        self._max_csr_bytes = max_csr_bytes
        self._signing: SigningAuthority | None = None
        self._batches: dict[int, list[Prepared | CaError]] = {}

    def answer(self, frame: Frame) -> Frame:
        """Whatever goes wrong is an answer, too; what is no error of the CA is told by its name alone."""
        try:
            return self._answer(*frame)
        except CaError as error:
            return "failed", *from_error(error)
        except Exception as error:  # noqa: BLE001 - the next batch may be sound
            return "failed", *from_error(AuthorityUnavailable(f"the signing worker failed ({type(error).__name__})"))

    def _answer(self, word: str, *values: Any) -> Frame:
        match word:
            case "policy":
                self._issuer.use(pickle.loads(values[0]))  # noqa: S301 - from the parent
                return ("ok",)
            case "authority":
                self._signing = None
                authority, key = pickle.loads(values[0]), from_pkcs8_der(Masked(values[1]))  # noqa: S301 - as above
                self._signing = SigningAuthority.open(authority, LocalSigner.of(key))
                return ("ok",)
            case "prepare":
                return "prepared", self._prepare(*values)
            case "issue":
                return "issued", self._issue(*values)
        raise AuthorityUnavailable("the signing worker was told what it does not know")

    def _prepare(self, batch: int, now: int, orders: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        if self._signing is None:
            raise AuthorityUnavailable("the signing worker has no authority")
        read = [
            Order(csr, profile, _spiffe_id(spiffe_id), dns_names, to_span(ttl), extra_sans, subject)
            for csr, profile, spiffe_id, dns_names, ttl, extra_sans, subject in orders
        ]
        answers = prepare_orders(self._issuer, read, self._signing, to_moment(now), self._max_csr_bytes)
        if len(self._batches) >= MAX_BATCHES:
            del self._batches[next(iter(self._batches))]
        self._batches[batch] = answers
        return [_prepared(answer) if isinstance(answer, Prepared) else from_error(answer) for answer in answers]

    def _issue(self, batch: int, chosen: list[int]) -> list[bytes | tuple[str, str]]:
        answers = self._batches.pop(batch, None)
        if answers is None:
            raise AuthorityUnavailable("the signing worker has forgotten the batch")
        ready = [answer for answer in (answers[place] for place in chosen) if isinstance(answer, Prepared)]
        return [one.der if isinstance(one, IssuedCertificate) else from_error(one) for one in self._issuer.issue(ready)]


def _prepared(prepared: Prepared) -> tuple[Any, ...]:
    """What of the intent the parent does not know from its order."""
    intent = prepared.intent
    return (
        intent.serial,
        intent.key_hash,
        from_moment(intent.not_before),
        from_moment(intent.not_after),
        intent.authority_id,
        intent.dns_names,
    )


def main(descriptor: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    disable_core_dumps()
    connection = socket.socket(fileno=descriptor)
    try:
        _, policy, max_csr_bytes = receive(connection)
        limits = pickle.loads(policy)  # noqa: S301 - from the parent
        worker = Worker(Issuer(limits, RandomSerials(os.urandom)), max_csr_bytes)
        gc.freeze()
        send(connection, ("ok",))
        while True:
            send(connection, worker.answer(receive(connection)))
    except OSError:
        return  # the server is gone, or has let this worker go


if __name__ == "__main__":
    main(int(sys.argv[1]))

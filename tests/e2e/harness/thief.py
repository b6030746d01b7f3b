"""Somebody who has copied a certificate and its key, and uses them where he likes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from sds.demo.ports import LOOPBACK
from tests.e2e.harness.sds_client import Svid
from tests.e2e.harness.tls import context

_TIMEOUT = 5.0
_REQUEST = b"GET / HTTP/1.1\r\nhost: thief\r\nconnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one connection. `served`: the request was answered with 200."""

    served: bool
    resumed: bool
    session: ssl.SSLSession | None
    problem: str = ""


class Thief:
    """Connections over TLS 1.3, where a client learns only from the first answer that its certificate is refused."""

    def __init__(self, svid: Svid, bundle: bytes, folder: Path) -> None:
        file = folder / "stolen.pem"
        file.write_bytes(svid.chain_pem + svid.key_pem)
        self.serial = f"{svid.chain[0].serial_number:x}"
        self._tls = context(bundle, file)

    async def ask(self, port: int, session: ssl.SSLSession | None = None) -> Answer:
        """One new connection and one request; with a session, an attempt to resume it."""
        return await asyncio.to_thread(self._ask, port, session)

    async def refused(self, port: int) -> bool:
        return not (await self.ask(port)).served

    def _ask(self, port: int, session: ssl.SSLSession | None) -> Answer:
        resumed = False
        try:
            with (
                socket.create_connection((LOOPBACK, port), timeout=_TIMEOUT) as raw,
                self._tls.wrap_socket(raw, session=session) as tls,
            ):
                resumed = bool(tls.session_reused)
                tls.sendall(_REQUEST)
                first = tls.recv(4096)
                return Answer(first.startswith(b"HTTP/1.1 200"), resumed, tls.session, first[:40].decode("latin-1"))
        except OSError as error:  # ssl.SSLError is one
            return Answer(False, resumed, None, str(error))

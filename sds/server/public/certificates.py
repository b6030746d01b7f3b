"""Where the public listeners' certificates come from: the server's own SVID, or files that somebody else renews."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from cryptography import x509

from ca.masked import Masked
from sds.http.tls import TlsUnusable, server_context, trust_clients
from sds.logs import get_logger
from sds.server.tls import TlsMaterial

_MAX_FILE_BYTES = 256 * 1024
LOOK_SECONDS = 2.0
"""How often files are looked at. A look is two stat(2) calls."""


class Inner(Protocol):
    """Either of the two below."""

    def context(self) -> ssl.SSLContext: ...

    async def run(self) -> None: ...


class SpiffeCertificate:
    """The server's own X.509-SVID, whatever it is at the moment (Federation 5.2.2.3). Its key is in memory only."""

    def __init__(self, current: Callable[[], TlsMaterial]) -> None:
        """Raises TlsUnusable."""
        self._current = current
        self._material = current()
        self._context = _context_of(self._material)
        self._log = get_logger(__name__)

    def context(self) -> ssl.SSLContext:
        """For the next handshake. The former one stays in use if the new material cannot be used."""
        material = self._current()
        if material.generation != self._material.generation:
            self._material = material
            try:
                self._context = _context_of(material)
            except TlsUnusable as error:
                self._log.error("the server's certificate cannot be used for HTTPS", reason=str(error))
        return self._context

    async def run(self) -> None:
        """Nothing to be looked at: until cancelled."""
        await asyncio.Event().wait()


class WithClients:
    """A listener's certificate, whose clients may show one as well: below the roots that are trusted at the moment.

    Roots that are trusted no more stay in a context until its certificate changes; who believes a client's certificate
    has to verify it again.
    """

    def __init__(self, inner: Inner, roots: Callable[[], tuple[bytes, ...]]) -> None:
        self._inner = inner
        self._roots = roots
        self._given: tuple[ssl.SSLContext, frozenset[bytes]] | None = None

    def context(self) -> ssl.SSLContext:
        context = self._inner.context()
        known = self._given[1] if self._given is not None and self._given[0] is context else frozenset[bytes]()
        roots = frozenset(self._roots())
        if not roots <= known or self._given is None or self._given[0] is not context:
            trust_clients(context, sorted(roots - known))
            self._given = (context, known | roots)
        return context

    async def run(self) -> None:
        await self._inner.run()


@dataclass(frozen=True, slots=True)
class _Loaded:
    context: ssl.SSLContext
    not_after: datetime


class FileCertificate:
    """A certificate and key in files, read again when they change. What worked last goes on being used."""

    def __init__(
        self, cert_file: Path, key_file: Path, told: Callable[[datetime], None] = lambda _not_after: None
    ) -> None:
        """Reads the files; blocks. `told` is given the certificate's end each time. Raises TlsUnusable."""
        self._cert_file = cert_file
        self._key_file = key_file
        self._told = told
        self._log = get_logger(__name__)
        self._seen = self._look()
        self._loaded = self._load()
        told(self._loaded.not_after)

    def context(self) -> ssl.SSLContext:
        """For the next handshake."""
        return self._loaded.context

    async def run(self) -> None:
        """Look at the files now and then, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.refresh()

    async def refresh(self) -> None:
        """Take over what lies there now, if it is something else and can be used."""
        seen = await asyncio.to_thread(self._look)
        if seen == self._seen:
            return
        self._seen = seen  # two files are not replaced at once: a pair that does not fit changes once more
        try:
            self._loaded = await asyncio.to_thread(self._load)
        except TlsUnusable as error:
            self._log.warning("the changed certificate is not used yet", file=str(self._cert_file), reason=str(error))
            return
        self._told(self._loaded.not_after)
        self._log.info("took over a changed certificate", file=str(self._cert_file))

    def _look(self) -> tuple[tuple[int, ...], ...]:
        """What changes when a file is written or replaced, links followed."""
        return tuple(_signature(file) for file in (self._cert_file, self._key_file))

    def _load(self) -> _Loaded:
        chain = _read(self._cert_file)
        context = server_context(chain, Masked(_read(self._key_file)))
        return _Loaded(context, x509.load_pem_x509_certificates(chain)[0].not_valid_after_utc)


def _context_of(material: TlsMaterial) -> ssl.SSLContext:
    return server_context(material.chain_pem, material.private_key_pem)


def _signature(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError as error:
        return (error.errno or 0,)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TlsUnusable(f"{file} cannot be read: {error.strerror}") from None
    if len(content) > _MAX_FILE_BYTES:
        raise TlsUnusable(f"{file} is larger than {_MAX_FILE_BYTES} bytes")
    return content

"""The files of a company's authority: read again when they change, and what was sound last goes on being used."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from attestation.spiffe_id import TrustDomain
from ca.errors import AuthorityUnavailable
from ca.masked import Masked
from ca.upstreams.disk import MAX_FILE_BYTES, NAME, parse_issuer, try_out
from ca.upstreams.following import Published
from ca.upstreams.issuing import Issuer
from sds.clock import Clock
from sds.server.upstream.watch import UpstreamWatch
from sds.store.errors import StoreError

SETTLE = 0.25
"""Seconds in which whoever replaces several files gets done with it, before they are judged."""
_SETTLES = 8

Look = tuple[tuple[int, ...], ...]
"""Which files there are, and which version of each."""


@dataclass(frozen=True, slots=True)
class IssuerPaths:
    certificates: Path
    key: Path
    bundle: Path | None = None

    @property
    def all(self) -> tuple[Path, ...]:
        return (self.certificates, self.key, *(() if self.bundle is None else (self.bundle,)))


class WatchedIssuer:
    """Implements ca.upstreams.disk.IssuerFiles. `roots` is told what is published, whenever that may have changed."""

    def __init__(
        self,
        paths: IssuerPaths,
        trust_domain: TrustDomain,
        serial_source: Callable[[], int],
        watch: UpstreamWatch,
        clock: Clock,
        interval: timedelta,
    ) -> None:
        self._paths = paths
        self._trust_domain = trust_domain
        self._serial_source = serial_source
        self._watch = watch
        self._clock = clock
        self._interval = interval.total_seconds()
        self._issuer: Issuer | None = None
        self._seen: Look = ()
        self._read_at: Look | None = None

    def current(self) -> Issuer:
        if self._issuer is None:
            raise AuthorityUnavailable(self._watch.problem or "the upstream's files have not been read yet")
        return self._issuer

    async def look(self) -> None:
        """Read the files if they have changed since they were last sound, or have become too old."""
        seen = await asyncio.to_thread(self._stat)
        if seen == self._read_at and self._watch.problem is None and not self._expired():
            return
        if seen != self._seen:
            seen = await self._settled(seen)
        try:
            issuer = await asyncio.to_thread(self._read)
        except AuthorityUnavailable as error:
            self._seen = seen
            self._watch.failed(str(error))
            return
        self._issuer, self._seen, self._read_at = issuer, seen, seen
        self._watch.lasts_until(issuer.validity.not_after)
        self._watch.well()

    async def run(self, roots: Callable[[Published], Awaitable[object]]) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            if self._issuer is not None:
                with suppress(StoreError):  # told of elsewhere; the next look tries again
                    await roots(Published(NAME, self._issuer.roots))
            await asyncio.sleep(self._interval * (0.9 + 0.2 * self._clock.jitter()))

    async def _settled(self, seen: Look) -> Look:
        """Wait until nobody writes any more. What takes longer than that is judged as it is."""
        for _ in range(_SETTLES):
            await asyncio.sleep(SETTLE)
            again = await asyncio.to_thread(self._stat)
            if again == seen:
                break
            seen = again
        return seen

    def _expired(self) -> bool:
        return self._issuer is not None and not self._issuer.validity.covers(self._clock.now())

    def _stat(self) -> Look:
        return tuple(_version(path) for path in self._paths.all)

    def _read(self) -> Issuer:
        """Blocks. Raises AuthorityUnavailable."""
        now = self._clock.now()
        certificates = read_file(self._paths.certificates)
        key = Masked(read_file(self._paths.key, secret=True))
        bundle = None if self._paths.bundle is None else read_file(self._paths.bundle)
        issuer = parse_issuer(certificates, key, bundle, now)
        try_out(issuer, self._trust_domain, self._serial_source(), now)
        return issuer


def _version(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def read_file(path: Path, *, secret: bool = False) -> bytes:
    """Raises AuthorityUnavailable. A link is followed: mounted secrets are links."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            _check(path, os.fstat(descriptor), secret=secret)
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise AuthorityUnavailable(f"{path} cannot be read: {error.strerror}") from None


def _check(path: Path, found: os.stat_result, *, secret: bool) -> None:
    """Raises AuthorityUnavailable."""
    if not stat.S_ISREG(found.st_mode):
        raise AuthorityUnavailable(f"{path} is not a file")
    if found.st_uid not in {0, os.geteuid()}:
        raise AuthorityUnavailable(f"{path} belongs to uid {found.st_uid}; use: chown {os.geteuid()} {path}")
    wrong, advice = (0o077, "600") if secret else (0o022, "644")
    if found.st_mode & wrong:
        mode = stat.S_IMODE(found.st_mode)
        raise AuthorityUnavailable(
            f"{path} is open to other users (mode {mode:04o}); use: chmod {advice} {path}"
            + (" (and consider it disclosed)" if secret else "")
        )

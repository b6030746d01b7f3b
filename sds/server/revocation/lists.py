"""One authority's list: whether it still says what is true, and the next one, signed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Protocol

from ca.authority import Authority, SigningAuthority
from ca.revocation import Reason, Revoked, build_crl, end_of, parse_crl
from ca.signer import Signer
from sds.store.revocation.records import CrlRecord

PRUNE_AFTER = timedelta(hours=1)
"""How long a list may go on naming what has expired: each new list goes to every sidecar."""

_MILLISECOND = timedelta(milliseconds=1)
_START = datetime(1970, 1, 1, tzinfo=UTC)


class Signers(Protocol):
    """The keys of authorities, whatever slot they are in."""

    async def signer(self, authority: Authority) -> Signer:
        """Raises AuthorityUnavailable, or KeyUnwrapFailed."""
        ...


def digest_of(revoked: Iterable[Revoked]) -> str:
    """Of what a list says. Equal for equal serials and reasons."""
    lines = sorted(f"{one.serial} {one.reason}\n" for one in revoked)
    return sha256("".join(lines).encode()).hexdigest()


def next_number(over: CrlRecord | None, now: datetime, floor: int = 0) -> int:
    """Milliseconds of the clock, and more than any before: so numbers grow although the database went back in time."""
    least = floor if over is None else max(over.number, floor)
    return max(least + 1, (now - _START) // _MILLISECOND)


class Lists:
    """Judges and makes lists; remembers what the standing ones say, because reading one of many entries takes time."""

    def __init__(self, signers: Signers) -> None:
        self._signers = signers
        self._said: dict[str, tuple[int, Mapping[str, Reason]]] = {}

    def outdated(self, standing: CrlRecord | None, revoked: Sequence[Revoked], now: datetime) -> bool:
        """Whether a new list is due: something new is revoked, or taken back, or enough time has passed to leave out
        what has expired. Raises InvalidCrl.
        """
        if standing is None or not standing.digest:
            return True
        if standing.digest == digest_of(revoked):
            return False
        said = self._says(standing)
        return any(said.get(one.serial) != one.reason for one in revoked) or now - standing.this_update >= PRUNE_AFTER

    async def make(
        self, authority: Authority, revoked: Sequence[Revoked], over: CrlRecord | None, now: datetime, floor: int = 0
    ) -> CrlRecord:
        """The next list of `authority`, at most `ca.revocation.MAX_REVOKED` long. Raises CaError, ValueError."""
        signing = SigningAuthority.open(authority, await self._signers.signer(authority))
        return await asyncio.to_thread(sign_list, signing, revoked, next_number(over, now, floor), now)

    def _says(self, standing: CrlRecord) -> Mapping[str, Reason]:
        number, said = self._said.get(standing.authority_id, (-1, {}))
        if number != standing.number:
            said = {one.serial: one.reason for one in parse_crl(standing.der).revoked()}
            self._said[standing.authority_id] = (standing.number, said)
        return said


def sign_list(signing: SigningAuthority, revoked: Sequence[Revoked], number: int, now: datetime) -> CrlRecord:
    """A list as it is stored. Blocks. Raises AuthorityUnavailable, ValueError."""
    return CrlRecord(
        authority_id=signing.authority.id,
        number=number,
        der=build_crl(signing, revoked, number=number, now=now),
        digest=digest_of(revoked),
        this_update=now.replace(microsecond=0),
        next_update=end_of(signing.authority, now),
    )


def first_list(signing: SigningAuthority, now: datetime) -> CrlRecord:
    """The list of an authority that is new: nothing that it issued is revoked. Blocks. Raises AuthorityUnavailable."""
    return sign_list(signing, (), next_number(None, now), now)

"""The certificates in memory, and what became of asking for others. Who uses them is not known here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from sds.agent.cache.views import HeldSvid
from sds.agent.renewal import Attempt
from sds.delivery.view import Identity


class Certificates:
    """All mappings are by entry ID; only the cache changes them."""

    __slots__ = ("attempts", "held", "replace_at")

    def __init__(self) -> None:
        self.held: dict[str, HeldSvid] = {}
        self.attempts: dict[str, Attempt] = {}
        self.replace_at: dict[str, datetime] = {}
        """What is held and to be replaced before its time."""

    def put(self, entry_id: str, svid: HeldSvid) -> None:
        """It replaces the former one and its key."""
        self.held[entry_id] = svid
        self.attempts.pop(entry_id, None)
        self.replace_at.pop(entry_id, None)

    def staple(self, entry_id: str, serial: str, answer: bytes) -> bool:
        """Keep an OCSP answer about the certificate with this serial, unless another one has come meanwhile."""
        svid = self.held.get(entry_id)
        if svid is None or svid.identity.certificate.serial != serial:
            return False
        certificate = replace(svid.identity.certificate, ocsp_staple=answer)
        self.held[entry_id] = replace(svid, identity=Identity(svid.identity.spiffe_id, certificate))
        return True

    def distrust(self, judged: Iterable[str], times: Mapping[str, datetime], urgent: Collection[str]) -> None:
        """Of the held certificates that are `judged` now, those in `times` are to be replaced then, the others not.

        One that was to be replaced before keeps its time if that is earlier: a bundle that changes often puts nothing
        off. What is `urgent` waits for no spread after an outage either.
        """
        for entry_id in judged:
            former = self.replace_at.pop(entry_id, None)
            due = times.get(entry_id)
            if due is None or entry_id not in self.held:
                continue
            self.replace_at[entry_id] = due if former is None else min(due, former)
            attempt = self.attempts.get(entry_id)
            if entry_id in urgent and attempt is not None and attempt.only_spread:
                del self.attempts[entry_id]

    def expire(self, now: datetime) -> list[str]:
        """Let go what is past its time; the IDs of the entries. The attempts stay."""
        ended = [entry_id for entry_id, svid in self.held.items() if svid.held.not_after <= now]
        for entry_id in ended:
            del self.held[entry_id]
            self.replace_at.pop(entry_id, None)
        return ended

    def forget(self, entry_id: str) -> None:
        """The certificate, its key and all attempts are gone."""
        self.held.pop(entry_id, None)
        self.replace_at.pop(entry_id, None)
        self.attempts.pop(entry_id, None)

    def answered(self, entry_id: str) -> bool:
        """Whether there is a certificate, or none after asking."""
        return entry_id in self.held or entry_id in self.attempts

"""Conditional changes (RFC 9110 section 13): for which versions of a thing one is meant."""

from __future__ import annotations

from dataclasses import dataclass

from sds.store.errors import Conflict


@dataclass(frozen=True, slots=True)
class Condition:
    """The versions that a change is for; None: any.

    Judged in the transaction of the change, behind the lock that every change of the thing takes: of two who saw the
    same version only one changes it.
    """

    versions: frozenset[str] | None = None

    def check(self, what: str, version: str) -> None:
        """Raises Conflict unless `version`, which stands, is one of them."""
        if self.versions is not None and version not in self.versions:
            raise Conflict(what, version)


ANY = Condition()

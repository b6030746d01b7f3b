"""Who is told: the owner by name or by their e-mail address, else whoever looks after what has no owner."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sds.notices.notice import NOBODY, WEBHOOK

LONGEST_ADDRESS = 254
"""RFC 5321 section 4.5.3.1.3, less the angle brackets."""
_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?=[^@]{1,253}\Z)((?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*)",
    re.ASCII,
)
"""A dot-atom address of ASCII (RFC 5322 section 3.4.1). No name beside it, no quotes, no comment: nothing to inject."""


def is_address(text: str) -> bool:
    """Whether `text` is a plain e-mail address."""
    found = len(text) <= LONGEST_ADDRESS and _ADDRESS.fullmatch(text)
    return bool(found) and len(text.partition("@")[0]) <= 64


def domain_of(address: str) -> str:
    return address.rpartition("@")[2].lower()


@dataclass(frozen=True, slots=True)
class Recipients:
    """`owners`: addresses of owners that are names. `domains`: those of owners' own addresses that may be written to.

    `fallback`: who is told what nobody else is told; with `everything`, all of it. `webhook` is told all in any case.
    """

    fallback: tuple[str, ...] = ()
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    domains: frozenset[str] = frozenset()
    everything: bool = False
    mail: bool = True
    webhook: bool = False

    def of(self, owner: str) -> tuple[str, ...]:
        """Whom to tell, each once; `("",)` if there is nobody: it is listed all the same."""
        found: list[str] = []
        if self.mail:
            found += self.owners.get(owner, ()) or self._own(owner)
            if not found or self.everything:
                found += self.fallback
        if self.webhook:
            found.append(WEBHOOK)
        return tuple(dict.fromkeys(found)) or (NOBODY,)

    def reaches(self, recipient: str) -> bool:
        """Whether `recipient` is one that may be written to; what was decided under another configuration may not."""
        if recipient == WEBHOOK:
            return self.webhook
        return self.mail and (self.names(recipient) or bool(self._own(recipient)))

    def names(self, recipient: str) -> bool:
        """Whether the configuration itself names this address, or the webhook."""
        if recipient == WEBHOOK:
            return self.webhook
        return self.mail and (recipient in self.fallback or any(recipient in each for each in self.owners.values()))

    def _own(self, owner: str) -> tuple[str, ...]:
        """Owners are set by whoever may change entries: without a list of domains they could write to anybody."""
        return (owner,) if is_address(owner) and domain_of(owner) in self.domains else ()

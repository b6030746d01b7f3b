"""Which names a profile's certificates may have beside the SPIFFE ID."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from attestation.dns_name import dns_problem, reserved_dns
from attestation.entry import RESERVED_DNS
from attestation.errors import InvalidSan
from attestation.extra_san import ExtraSan, SanKind

ANY = "*"
MAX_NAMES = 64

Network = IPv4Network | IPv6Network


class Misfit(NamedTuple):
    """A wish that a profile does not allow: the entry's field, named as in the API, and why."""

    field: str
    problem: str


@dataclass(frozen=True, slots=True)
class NameLimits:
    """The names that an entry may ask for. An empty list allows none of its kind.

    `dns` are patterns, lower case: ``example.org`` is that name, ``*.example.org`` any one label in front of it,
    ``.example.org`` any number of them, ``*`` everything. `wildcards` tells whether a certificate's name may have a
    wildcard itself; it then needs a pattern that allows every name which the wildcard stands for. `email` are domains:
    ``example.org`` or, for all below, ``.example.org``.
    """

    dns: tuple[str, ...] = (ANY,)
    wildcards: bool = True
    max_dns: int = MAX_NAMES
    ip: tuple[Network, ...] = ()
    email: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for problem in (*map(pattern_problem, self.dns), *map(domain_problem, self.email)):
            if problem:
                raise ValueError(problem)
        if not 0 <= self.max_dns <= MAX_NAMES:
            raise ValueError(f"at most {MAX_NAMES} DNS names fit into a certificate")

    def misfits(self, dns_names: tuple[str, ...], extra_sans: tuple[str, ...]) -> Iterator[Misfit]:
        """Everything that is asked for and not allowed."""
        if len(dns_names) > self.max_dns:
            yield Misfit("dns_names", f"the profile allows at most {self.max_dns}")
        for number, name in enumerate(dns_names, start=1):
            problem = self.dns_misfit(name)
            if problem:
                yield Misfit("dns_names", f"name {number} {problem}")
        if len(extra_sans) > MAX_NAMES:
            yield Misfit("extra_sans", f"at most {MAX_NAMES} are allowed")
            return
        for number, text in enumerate(extra_sans, start=1):
            problem = self._extra_misfit(text)
            if problem:
                yield Misfit("extra_sans", f"name {number} {problem}")

    def dns_misfit(self, name: str) -> str:
        """Why a DNS name of good form is not allowed; empty if it is."""
        if name.startswith("*.") and not self.wildcards:
            return "has a wildcard, which the profile does not allow"
        if not any(_matches(name.lower(), pattern) for pattern in self.dns):
            return "is not among the DNS names that the profile allows"
        return ""

    def _extra_misfit(self, text: str) -> str:
        try:
            name = ExtraSan.parse(text)
        except InvalidSan as error:
            return str(error)
        if name.kind is SanKind.IP:
            address = name.address
            allowed = any(address.version == net.version and address in net for net in self.ip)
            return "" if allowed else "is in none of the networks that the profile allows"
        allowed = any(_matches(name.domain, pattern) for pattern in self.email)
        return "" if allowed else "is in none of the mailbox domains that the profile allows"


def pattern_problem(pattern: str) -> str:
    """What is wrong with a pattern for DNS names; empty if nothing is."""
    if pattern == ANY:
        return ""
    return domain_problem(pattern.removeprefix("*") if pattern.startswith("*.") else pattern)


def domain_problem(pattern: str) -> str:
    """What is wrong with ``example.org`` or ``.example.org``; empty if nothing is."""
    name = pattern.removeprefix(".")
    if name.startswith("*"):
        return "has a wildcard in a place where none can be"
    if reserved_dns(name):
        return f"is at or below {RESERVED_DNS}, which is reserved for servers"
    if name != name.lower() or name.endswith("."):
        return "is not in lower case without a dot at its end"
    problem = dns_problem(name)
    return f"is no pattern for names: {problem}" if problem else ""


def _matches(name: str, pattern: str) -> bool:
    """`name` is lower case and may start with a wildcard, which matches only where all that it stands for would."""
    if pattern == ANY:
        return True
    if pattern.startswith("*."):
        label, _, rest = name.partition(".")
        return bool(label) and rest == pattern[2:]
    if pattern.startswith("."):
        return name.endswith(pattern) and len(name) > len(pattern)
    return name == pattern

"""Name constraints (RFC 5280 section 4.2.1.10): whether a certificate's names lie within what an issuer may name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

Matcher = Callable[[Any, Any], bool]
"""Whether a name (first) is of the subtree (second)."""


def violation(certificate: x509.Certificate, constraints: x509.NameConstraints) -> str:
    """Why `certificate`, which is below a certificate with `constraints`, breaks them; empty when it does not.

    A kind of name that is constrained and unknown here is a violation, because nobody can tell.
    """
    for name in _names(certificate):
        kind = type(name)
        permitted = [subtree for subtree in constraints.permitted_subtrees or () if isinstance(subtree, kind)]
        excluded = [subtree for subtree in constraints.excluded_subtrees or () if isinstance(subtree, kind)]
        if not permitted and not excluded:
            continue
        within = _MATCHERS.get(kind)
        if within is None:
            return f"it has a {kind.__name__}, of which the constraints are not understood"
        if permitted and not any(within(name.value, subtree.value) for subtree in permitted):
            return f"{_shown(name)} is none of the names that are permitted"
        if any(_excluded(within, name, subtree) for subtree in excluded):
            return f"{_shown(name)} is excluded"
    return ""


def _names(certificate: x509.Certificate) -> Iterable[x509.GeneralName]:
    """The subject, where there is one, counts as a directory name beside the alternative names."""
    if list(certificate.subject):
        yield x509.DirectoryName(certificate.subject)
    try:
        yield from certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return


def _excluded(within: Matcher, name: x509.GeneralName, subtree: x509.GeneralName) -> bool:
    if within(name.value, subtree.value):
        return True
    # A wildcard stands for names in the subtree, too, when the subtree lies below its domain.
    wild = isinstance(name, x509.DNSName) and name.value.startswith("*.")
    return wild and _domain(subtree.value, name.value[2:])


def _shown(name: x509.GeneralName) -> str:
    return name.value.rfc4514_string() if isinstance(name, x509.DirectoryName) else str(name.value)


def _domain(name: str, subtree: str) -> bool:
    """Equal, or with labels added to the left; an empty subtree is all there is."""
    name, subtree = name.lower(), subtree.lower()
    return not subtree or name == subtree or name.endswith("." + subtree.removeprefix("."))


def _host(name: str, subtree: str) -> bool:
    """Of URIs and mailboxes: with a leading dot every host below, without it that one host."""
    name, subtree = name.lower(), subtree.lower()
    return name.endswith(subtree) and name != subtree if subtree.startswith(".") else name == subtree


def _uri(name: str, subtree: str) -> bool:
    try:
        host = urlsplit(name).hostname
    except ValueError:
        return False
    return host is not None and _host(host, subtree)


def _mailbox(name: str, subtree: str) -> bool:
    if "@" in subtree:
        return name == subtree
    return _host(name.rpartition("@")[2], subtree)


def _address(name: Any, subtree: Any) -> bool:
    return isinstance(subtree, IPv4Network | IPv6Network) and name.version == subtree.version and name in subtree


def _directory(name: x509.Name, subtree: x509.Name) -> bool:
    return name.rdns[: len(subtree.rdns)] == subtree.rdns


_MATCHERS: Mapping[type[x509.GeneralName], Matcher] = MappingProxyType(
    {
        x509.UniformResourceIdentifier: _uri,
        x509.DNSName: _domain,
        x509.RFC822Name: _mailbox,
        x509.IPAddress: _address,
        x509.DirectoryName: _directory,
    }
)

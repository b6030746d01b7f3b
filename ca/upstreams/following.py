"""What becomes of an authority when its upstream's roots change. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from cryptography import x509

from ca.authority import Authority, AuthorityKind
from ca.chains.certificate import key_identifier
from ca.chains.path import find_path
from ca.errors import InvalidPath


@dataclass(frozen=True, slots=True)
class Published:
    """What an upstream publishes now. `tainted` are key identifiers, hex.

    `complete`: what it has left out is trusted no more, as in another server's bundle. Else (files that somebody edits)
    a root stays for as long as an authority is below it.
    """

    upstream: str
    roots: tuple[bytes, ...] = field(repr=False)
    tainted: frozenset[str] = frozenset()
    complete: bool = False


def follow(authority: Authority, published: Published, now: datetime) -> Authority:
    """`authority` as it has to stand from now on; itself if nothing changes.

    1. Authorities of another upstream, of no use any more (revoked, expired) or without certificate stay as they are.
    2. Its roots are what the upstream publishes. 3. If its own is not among them, it stays one of them; or, where the
    upstream has taken it back, the authority is revoked. 4. If one above it is tainted, so is it.

    No clock can revoke: paths are judged as of the time when the authority was made.
    """
    is_ours = authority.kind is AuthorityKind.X509 and authority.upstream == published.upstream and authority.roots
    if not is_ours or not published.roots or not authority.published(now):  # 1
        return authority
    path = _path(authority, published.roots)
    if path is None and published.complete:  # 3
        return replace(authority, revoked=True)
    kept = _anchor(authority) if path is None else ()
    followed = replace(authority, roots=(*published.roots, *kept))  # 2
    above = {key_identifier(certificate).hex() for certificate in path or ()} - {authority.id}
    return replace(followed, tainted=True) if above & published.tainted else followed  # 4


def _anchor(authority: Authority) -> tuple[bytes, ...]:
    """The root that it is below now; all that it has if none is found, for safety's sake."""
    path = _path(authority, authority.roots)
    if path is None:
        return authority.roots
    return tuple(der for der in authority.roots if x509.load_der_x509_certificate(der) == path[-1])


def _path(authority: Authority, roots: Sequence[bytes]) -> tuple[x509.Certificate, ...] | None:
    chain, trusted = ([x509.load_der_x509_certificate(der) for der in ders] for ders in (authority.chain, roots))
    try:
        return find_path(chain, trusted, authority.not_before, issuing=True)
    except InvalidPath:
        return None

"""Authorities as facts alone, for what decides by them: no keys, no certificates that could be read."""

from __future__ import annotations

from datetime import datetime, timedelta

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.gate import Holder
from ca.keys import KeyType
from tests.fakes.clock import EPOCH

TD = TrustDomain("example.org")


def slot(
    name: str,
    state: AuthorityState,
    *,
    kind: AuthorityKind = AuthorityKind.X509,
    since: datetime = EPOCH,
    life: timedelta = timedelta(days=360),
    activated_at: datetime | None = None,
    retired_at: datetime | None = None,
    tainted: bool = False,
    revoked: bool = False,
    sequence: int = 1,
    certificate: bytes = b"",
) -> Authority:
    """An authority that was made at `since`."""
    if activated_at is None and state is not AuthorityState.PREPARED:
        activated_at = since
    return Authority(
        id=name,
        trust_domain=TD,
        kind=kind,
        state=state,
        key_ref=f"fake:{name}",
        key_type=KeyType.ECDSA_P256,
        public_key=name.encode(),
        certificate=certificate or name.encode(),
        not_before=since,
        not_after=since + life,
        created_at=since,
        activated_at=activated_at,
        retired_at=retired_at,
        tainted=tainted,
        revoked=revoked,
        published_sequence=sequence,
    )


def holder(name: str, sequence: int, **more: object) -> Holder:
    """The agent `name`, or a stream of it, that holds bundle `sequence`."""
    return Holder(SpiffeId(TD, f"/sds/agent/{name}"), sequence, **more)  # type: ignore[arg-type]

"""The server's answers to what was asked: each token is judged before anybody gets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from attestation.entry import RegistrationEntry
from ca.bundle import TrustBundle
from ca.errors import InvalidJwtSvid
from ca.jwt_verify import validate
from ca.masked import Masked
from sds._pb.sds.node.v1 import node_pb2
from sds.agent import convert
from sds.agent.jwt.shelf import HeldToken, Key
from sds.agent.renewal import renew_at

Wanted = tuple[RegistrationEntry, tuple[str, ...]]
"""An entry and an audience."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no token. `final`: the server decided so, and did not merely fail."""

    reason: str
    final: bool = False


def judged(
    wanted: Sequence[Wanted],
    answer: node_pb2.SignJwtSvidsResponse,
    bundle: TrustBundle | None,
    now: datetime,
    leeway: timedelta,
    jitters: Sequence[float],
    jitter_share: float,
) -> Mapping[Key, HeldToken | Refused]:
    """Match the results with what was asked, and check every token as its audience would."""
    found: dict[Key, HeldToken | Refused] = {}
    for number, ((entry, audience), jitter) in enumerate(zip(wanted, jitters, strict=True)):
        key = (entry.id, audience)
        if number >= len(answer.results) or answer.results[number].entry_id != entry.id:
            found[key] = Refused("the server's answer does not fit the question")
            continue
        result = answer.results[number]
        if result.WhichOneof("result") != "svid":
            found[key] = _refusal(result.error)
            continue
        try:
            found[key] = _held(entry, audience, result.svid, bundle, now, leeway, jitter, jitter_share)
        except (InvalidJwtSvid, ValueError) as error:
            found[key] = Refused(f"the server sent a token that cannot be used: {error}")
    return found


def _held(
    entry: RegistrationEntry,
    audience: tuple[str, ...],
    message: node_pb2.JwtSvid,
    bundle: TrustBundle | None,
    now: datetime,
    leeway: timedelta,
    jitter: float,
    jitter_share: float,
) -> HeldToken:
    """A token that may be served: for this ID and this audience, good now, and verified.

    Raises InvalidJwtSvid, ValueError.
    """
    if bundle is None:
        raise ValueError("there is no trust bundle to judge it by")
    svid = validate(message.token, {bundle.trust_domain: bundle}, audience[0], now, leeway)
    if svid.spiffe_id != entry.spiffe_id or set(svid.audience) != set(audience):
        raise ValueError("it is for another SPIFFE ID or another audience")
    if svid.expires_at <= now:
        raise ValueError("it has expired already: check the clocks")
    issued_at = min(convert.moment(message.issued_at), now)
    return HeldToken(
        token=Masked(message.token),
        spiffe_id=svid.spiffe_id,
        authority_id=svid.key_id,
        issued_at=issued_at,
        expires_at=svid.expires_at,
        refresh_at=renew_at(issued_at, svid.expires_at, jitter_share, jitter),
        wanted_ttl=entry.spec.jwt_svid_ttl,
    )


def _refusal(error: node_pb2.SignError) -> Refused:
    """REFUSED is a decision. The rest may pass: a replica may not have heard of the entry yet."""
    return Refused(error.message or "the server gave no reason", final=error.code == node_pb2.SignError.CODE_REFUSED)

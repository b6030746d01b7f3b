"""Agent identities with real keys and certificates."""

from __future__ import annotations

from datetime import datetime, timedelta

from ca.authority import SigningAuthority
from ca.profile import ProfileName
from sds.agent.identity import AgentIdentity
from tests.fakes.ca import make_authority, make_bundle_of, make_svid
from tests.fakes.clock import EPOCH

AGENT_ID = "spiffe://example.org/sds/agent/join_token/1"


def make_identity(
    authority: SigningAuthority | None = None,
    *,
    spiffe_id: str = AGENT_ID,
    now: datetime = EPOCH,
    ttl: timedelta | None = None,
) -> AgentIdentity:
    authority = authority or make_authority(now=now)
    holder = make_svid(spiffe_id, authority, profile=ProfileName.AGENT, now=now, ttl=ttl)
    return AgentIdentity(holder.svid, holder.key_pem, make_bundle_of(authority))

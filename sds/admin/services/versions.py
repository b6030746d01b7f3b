"""What makes a thing another version of itself, where it has no revision: a tag over what decisions rest on."""

from __future__ import annotations

from hashlib import sha256

from ca.authority import Authority
from sds.admin.services.agents import AgentInfo
from sds.secrets.grant import Grant
from sds.store.codec import to_json
from sds.store.federations import FederationRecord
from sds.store.records import AgentRecord
from sds.store.revocation.records import BlockRecord

VERSION_LENGTH = 32


def version_of(*parts: object) -> str:
    """Equal as long as none of what it was made from has changed."""
    return sha256(to_json([str(part) for part in parts]).encode()).hexdigest()[:VERSION_LENGTH]


def agent_version(agent: AgentInfo | AgentRecord) -> str:
    """Another one for who decides about the agent; that it was heard of makes none."""
    return version_of(agent.spiffe_id, agent.serial, agent.attested_at, agent.banned_at, agent.downstream)


def grant_version(grant: Grant) -> str:
    """A grant never changes."""
    return version_of(grant.id)


def authority_version(one: Authority) -> str:
    return version_of(one.id, one.state.value, one.tainted, one.revoked, one.published_sequence)


def federation_version(record: FederationRecord) -> str:
    """Another one with every change of its source and its bundle, and not with every poll."""
    source = record.source
    return version_of(
        record.trust_domain.name,
        source.profile.value,
        source.endpoint_url,
        source.endpoint_id,
        "" if record.bundle is None else sha256(record.bundle.spiffe_json()).hexdigest(),
    )


def block_version(block: BlockRecord) -> str:
    return version_of(block.id, block.lifted_at)

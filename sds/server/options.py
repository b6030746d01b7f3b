"""From the configuration to what each part wants to know of it."""

from __future__ import annotations

from datetime import timedelta

from ca.jwt_svid import JwtPolicy
from ca.keys import KeyType
from ca.profile import IssuancePolicy, Profile, ProfileName
from sds.config import ServerConfig
from sds.net.limits import Rate, TokenBuckets
from sds.server.authority.authorities import AuthorityPolicy
from sds.server.listener import ListenerOptions
from sds.server.services.entries import EntryPolicy
from sds.server.services.trust import TokenPolicy
from sds.store.engines import Limits

_NODE_CALLS = 1024
"""Under way at once on one connection: an agent has few; a client with more has lost its way."""
_ATTEST_CALLS = 100
"""Nobody is known yet on this listener, and there is little to ask."""
_SHORTEST = timedelta(seconds=1)


def store_limits(config: ServerConfig) -> Limits:
    database = config.database
    half = max(1, database.pool_size // 2)
    return Limits(
        lock_timeout=database.busy_timeout.total_seconds(),
        readers=half,
        writers=half,
        poll_interval=database.poll_interval.total_seconds(),
    )


def authority_policy(config: ServerConfig) -> AuthorityPolicy:
    ca = config.ca
    return AuthorityPolicy(config.trust_domain, KeyType(ca.key_type), lifetime=ca.ttl, backdate=ca.backdate)


def issuance_policy(config: ServerConfig) -> IssuancePolicy:
    ca = config.ca
    profiles = (
        Profile(
            ProfileName.WORKLOAD, default_ttl=ca.default_x509_ttl, min_ttl=ca.min_x509_ttl, max_ttl=ca.max_x509_ttl
        ),
        Profile(ProfileName.AGENT, default_ttl=ca.agent_ttl, min_ttl=_SHORTEST, max_ttl=ca.agent_ttl),
        Profile(ProfileName.SERVER, default_ttl=ca.server_ttl, min_ttl=_SHORTEST, max_ttl=ca.server_ttl),
    )
    return IssuancePolicy({profile.name: profile for profile in profiles}, backdate=ca.backdate)


def jwt_policy(config: ServerConfig) -> JwtPolicy:
    jwt = config.jwt
    return JwtPolicy(jwt.default_ttl, jwt.min_ttl, jwt.max_ttl, jwt.issuer or "")


def listener_options(config: ServerConfig, *, known_peers: bool) -> ListenerOptions:
    limits, grpc = config.limits, config.grpc
    return ListenerOptions(
        connection_rate=Rate(limits.connection_rate, limits.connection_burst),
        max_connections=limits.max_connections,
        max_connections_per_address=limits.max_connections_per_address,
        max_message_bytes=limits.max_message_bytes,
        max_concurrent_calls=_NODE_CALLS if known_peers else _ATTEST_CALLS,
        handshake_timeout=limits.handshake_timeout,
        keepalive=grpc.keepalive,
        keepalive_timeout=grpc.keepalive_timeout,
        reflection=grpc.reflection,
    )


def attest_rates(config: ServerConfig) -> TokenBuckets:
    return TokenBuckets(Rate(config.limits.attest_rate, config.limits.attest_burst))


def entry_policy(config: ServerConfig) -> EntryPolicy:
    return EntryPolicy(config.trust_domain, config.ca.min_x509_ttl, config.ca.max_x509_ttl)


def token_policy(config: ServerConfig) -> TokenPolicy:
    tokens = config.join_token
    return TokenPolicy(config.trust_domain, tokens.default_ttl, tokens.max_ttl)

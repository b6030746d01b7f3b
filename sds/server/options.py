"""From the configuration to what each part wants to know of it."""

from __future__ import annotations

from collections.abc import Mapping

from ca.jws import JwtAlgorithm
from ca.jwt_svid import JwtPolicy
from ca.keys import KeyType
from ca.profile import IssuancePolicy, Profile
from ca.rotation import KindPolicy, RotationPolicy
from sds.config import ServerConfig
from sds.config.ca.profiles import make_profiles
from sds.net.limits import Rate, TokenBuckets
from sds.rotation.ports import Rules
from sds.rotation.steps import Call
from sds.server.authority.maker import AuthorityPolicy
from sds.server.downstream.intermediates import IntermediatePolicy
from sds.server.events import system_actor
from sds.server.listener import ListenerOptions
from sds.server.revocation.ocsp import OcspPolicy
from sds.server.services.entry_policy import EntryPolicy
from sds.server.services.trust import TokenPolicy
from sds.store.engines import Limits

_NODE_CALLS = 1024
"""Under way at once on one connection: an agent has few; a client with more has lost its way."""
_ATTEST_CALLS = 100
"""Nobody is known yet on this listener, and there is little to ask."""


def ocsp_policy(config: ServerConfig) -> OcspPolicy:
    section = config.revocation
    return OcspPolicy(config.trust_domain, section.ocsp_validity, section.ocsp_certificate_ttl)


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
    return AuthorityPolicy(
        config.trust_domain,
        KeyType(ca.key_type),
        lifetime=ca.ttl,
        backdate=ca.backdate,
        jwt_algorithm=JwtAlgorithm(config.jwt.algorithm),
        jwt_lifetime=config.rotation.jwt_ttl,
    )


def rotation_rules(config: ServerConfig) -> Rules:
    rotation, ca = config.rotation, config.ca
    longest = max(profile.max_ttl for profile in profiles(config).values())
    wait = rotation.wait_x509(ca.ttl, ca.refresh_hint, served=config.endpoints.bundle.listen is not None)
    jwt_wait = rotation.wait_jwt(ca.refresh_hint, config.endpoints.oidc.max_age)
    token = config.jwt.max_ttl
    policy = RotationPolicy(
        x509=KindPolicy(lead=rotation.deadline or longest, longest=longest, wait=wait),
        jwt=KindPolicy(lead=rotation.deadline or token, longest=token, wait=jwt_wait),
        scheduled=rotation.enabled,
        prepare_at=rotation.prepare_at,
        activate_at=rotation.activate_at,
        patience=rotation.patience,
        leeway=rotation.leeway,
    )
    return Rules(policy, rotation.settle, Call(system_actor(), ""))


def profiles(config: ServerConfig) -> Mapping[str, Profile]:
    """By name, built-in ones included."""
    return make_profiles(config.ca.profiles, config.ca.profile_lifetimes)


def issuance_policy(config: ServerConfig) -> IssuancePolicy:
    return IssuancePolicy(profiles(config), backdate=config.ca.backdate)


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
    return EntryPolicy(config.trust_domain, profiles(config), config.jwt.min_ttl, config.jwt.max_ttl)


def intermediate_policy(config: ServerConfig) -> IntermediatePolicy:
    below = config.downstream
    return IntermediatePolicy(
        config.trust_domain,
        below.default_ttl,
        below.max_ttl,
        below.path_length,
        config.ca.backdate,
        config.limits.max_csr_bytes,
    )


def token_policy(config: ServerConfig) -> TokenPolicy:
    tokens = config.join_token
    return TokenPolicy(config.trust_domain, tokens.default_ttl, tokens.max_ttl)

"""From the configuration's tables to the options of each part. Pure."""

from __future__ import annotations

from attestation.workload.unix import UnixConfig
from ca.keys import KeyType
from sds.agent.dial import LinkOptions
from sds.agent.issuer import IssuerOptions
from sds.agent.jwt.tokens import TokenOptions
from sds.agent.peer import PeerOptions
from sds.agent.secrets.desk import SecretsOptions
from sds.agent.secrets.interests import InterestLimits
from sds.backoff import Backoff
from sds.config import AgentConfig
from sds.delivery.service import DeliverySettings
from sds.delivery.subscription import Limits
from sds.delivery.view import Names
from sds.net.admission import DESCRIPTORS_PER_CONNECTION

_SPARE_DESCRIPTORS = 256
_SPARE_PATIENCE = 1.0  # seconds; then it is known that there is nothing now


def backoff(config: AgentConfig) -> Backoff:
    return Backoff(config.upstream.backoff_min, config.upstream.backoff_max)


def link(config: AgentConfig) -> LinkOptions:
    upstream = config.upstream
    return LinkOptions(upstream.connect_timeout, upstream.call_timeout, upstream.keepalive, upstream.keepalive_timeout)


def issuer(config: AgentConfig) -> IssuerOptions:
    return IssuerOptions(
        key_type=KeyType(config.svid.key_type),
        batch=config.upstream.sign_batch,
        jitter_share=config.svid.renewal_jitter,
        warm_for=config.svid.warm_for,
        replace_within=config.svid.replace_within,
    )


def tokens(config: AgentConfig) -> TokenOptions:
    jwt = config.jwt
    return TokenOptions(
        capacity=jwt.max_tokens,
        batch=config.upstream.sign_batch,
        jitter_share=jwt.refresh_jitter,
        leeway=jwt.leeway,
    )


def peers(config: AgentConfig) -> PeerOptions:
    return PeerOptions(
        reattest_interval=config.svid.reattest_interval,
        concurrency=config.limits.max_attestations,
        streams_per_uid=config.limits.max_streams_per_uid,
    )


def secrets(config: AgentConfig) -> SecretsOptions:
    return SecretsOptions(config.secrets.patience, config.secrets.max_bytes)


def interests(config: AgentConfig) -> InterestLimits:
    secrets = config.secrets
    return InterestLimits(secrets.max_per_process, secrets.max_per_uid, secrets.max_total)


def delivery(config: AgentConfig) -> DeliverySettings:
    limits = config.limits
    return DeliverySettings(
        streams=limits.max_streams,
        streams_per_connection=limits.max_streams_per_connection,
        message_bytes=limits.max_message_bytes,
        silent_grace=config.sds.silent_stream_grace.total_seconds(),
        patience=config.secrets.patience.total_seconds() + _SPARE_PATIENCE,
        names=Limits(names=limits.max_names, name_length=limits.max_name_bytes),
    )


def names(config: AgentConfig) -> Names:
    return Names(default=(config.sds.default_name,), root=(config.sds.bundle_name,), all=(config.sds.all_bundles_name,))


def unix_attestor(config: AgentConfig) -> UnixConfig:
    unix = config.attestors.unix
    return UnixConfig(unix.discover_names, unix.discover_path, unix.discover_sha256, unix.sha256_max_bytes)


def connection_descriptors(descriptors: int) -> int:
    """How many of the allowed open files are left for connections."""
    return max(16 * DESCRIPTORS_PER_CONNECTION, descriptors - _SPARE_DESCRIPTORS)

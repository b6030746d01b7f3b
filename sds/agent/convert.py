"""From the node protocol's messages to domain values. Protobuf travels no further in than this."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.errors import AttestationError
from attestation.selector import parse_selectors
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import DEFAULT_REFRESH_HINT, JwtKey, TrustBundle, make_bundle
from ca.errors import CaError
from ca.svid import X509Svid, parse_svid
from sds._pb.sds.node.v1 import node_pb2
from sds.agent.errors import InvalidAnswer

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Update:
    """One WatchAuthorizedResponse. `rejected` says what could not be understood, and why.

    `federated` is None when it did not change.
    """

    revision: int
    epoch: str
    snapshot: bool
    upserted: tuple[RegistrationEntry, ...]
    removed: tuple[str, ...]
    bundle: TrustBundle | None
    server_time: datetime | None
    federated: tuple[TrustBundle, ...] | None = None
    rejected: tuple[str, ...] = ()


def update(message: node_pb2.WatchAuthorizedResponse, agent_id: SpiffeId) -> Update:
    """What cannot be understood harms only itself: a bad entry counts as removed, a bad bundle as unchanged."""
    upserted, removed, rejected = [], list(message.removed_entry_ids), []
    for one in message.upserted:
        try:
            upserted.append(entry(one, agent_id))
        except (AttestationError, ValueError, OverflowError) as error:
            removed.append(one.id)
            rejected.append(f"{one.id}: {error}")
    new_bundle = None
    if message.HasField("bundle"):
        try:
            new_bundle = bundle(message.bundle, agent_id.trust_domain)
        except InvalidAnswer as error:
            rejected.append(str(error))
    return Update(
        revision=message.revision,
        epoch=message.epoch,
        snapshot=message.snapshot,
        upserted=tuple(upserted),
        removed=tuple(removed),
        bundle=new_bundle,
        server_time=_valid_moment(message),
        federated=_federated(message, agent_id.trust_domain, rejected) if message.HasField("federated") else None,
        rejected=tuple(rejected),
    )


def entry(message: node_pb2.Entry, agent_id: SpiffeId) -> RegistrationEntry:
    """Raises AttestationError or ValueError."""
    if not message.id:
        raise ValueError("an entry without an ID")
    return RegistrationEntry(
        id=message.id,
        revision=message.revision,
        created_at=moment(message.created_at),
        updated_at=moment(message.updated_at),
        spec=EntrySpec(
            spiffe_id=_of_domain(message.spiffe_id, agent_id.trust_domain),
            parent_id=agent_id,
            selectors=parse_selectors(message.selectors),
            x509_svid_ttl=span(message.x509_svid_ttl) if message.HasField("x509_svid_ttl") else None,
            dns_names=tuple(message.dns_names),
            hint=message.hint,
            expires_at=moment(message.expires_at) if message.HasField("expires_at") else None,
            jwt_svid_ttl=span(message.jwt_svid_ttl) if message.HasField("jwt_svid_ttl") else None,
            federates_with=tuple(map(TrustDomain, message.federates_with)),
            profile=message.profile,
            extra_sans=tuple(message.extra_sans),
            subject=message.subject,
        ),
    )


def bundle(message: node_pb2.Bundle, expected: TrustDomain | None = None) -> TrustBundle:
    """Raises InvalidAnswer, also for a bundle without authorities: it would lock us out."""
    made = _bundle(message)
    if not made.x509_authorities:
        raise InvalidAnswer("the server sent a bundle without authorities")
    if expected is not None and made.trust_domain != expected:
        raise InvalidAnswer(f"the server sent the bundle of {made.trust_domain} instead of that of {expected}")
    return made


def _federated(
    message: node_pb2.WatchAuthorizedResponse, own: TrustDomain, rejected: list[str]
) -> tuple[TrustBundle, ...]:
    """What cannot be understood counts as missing: nobody of that trust domain is trusted by it. Never our own."""
    found = []
    for one in message.federated.bundles:
        try:
            made = _bundle(one)
        except InvalidAnswer as error:
            rejected.append(str(error))
            continue
        if made.trust_domain == own:
            rejected.append("our own trust domain among the federated ones")
        else:
            found.append(made)
    return tuple(found)


def _bundle(message: node_pb2.Bundle) -> TrustBundle:
    """Raises InvalidAnswer."""
    try:
        return make_bundle(
            TrustDomain(message.trust_domain),
            message.x509_authorities,
            message.sequence,
            span(message.refresh_hint) if message.HasField("refresh_hint") else DEFAULT_REFRESH_HINT,
            jwt_keys=map(_jwt_key, message.jwt_authorities),
            crls=message.crls,
            tainted=message.tainted_authorities,
        )
    except (AttestationError, CaError, ValueError, UnsupportedAlgorithm) as error:
        raise InvalidAnswer(f"the server sent a bundle that cannot be used: {error}") from None


def _jwt_key(message: node_pb2.JwtAuthority) -> JwtKey:
    """Raises ValueError."""
    if not message.key_id:
        raise ValueError("a JWT authority without an ID")
    load_der_public_key(message.public_key)
    return JwtKey(
        message.key_id, message.public_key, moment(message.not_after) if message.HasField("not_after") else None
    )


def svid(chain: Iterable[bytes], expected: SpiffeId | None = None) -> X509Svid:
    """Raises InvalidAnswer. `expected` is the SPIFFE ID that it must bear."""
    try:
        parsed = parse_svid(list(chain))
    except CaError as error:
        raise InvalidAnswer(f"the server sent a certificate that cannot be used: {error}") from None
    if expected is not None and parsed.spiffe_id != expected:
        raise InvalidAnswer(f"the server sent a certificate for {parsed.spiffe_id} instead of {expected}")
    return parsed


def moment(message: Timestamp) -> datetime:
    """Aware UTC. Raises ValueError for a time beyond what a datetime holds."""
    try:
        return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    except OverflowError as error:
        raise ValueError("a time is out of range") from error


def span(message: Duration) -> timedelta:
    """Raises ValueError for a span beyond what a timedelta holds."""
    try:
        return timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    except OverflowError as error:
        raise ValueError("a duration is out of range") from error


def timestamp(when: datetime | None) -> Timestamp | None:
    """None stays absent."""
    if when is None:
        return None
    message = Timestamp()
    message.FromDatetime(when)
    return message


def _valid_moment(message: node_pb2.WatchAuthorizedResponse) -> datetime | None:
    try:
        return moment(message.server_time) if message.HasField("server_time") else None
    except ValueError:
        return None


def _of_domain(text: str, trust_domain: TrustDomain) -> SpiffeId:
    spiffe_id = SpiffeId.parse(text)
    if not spiffe_id.member_of(trust_domain):
        raise ValueError("its SPIFFE ID is of another trust domain")
    return spiffe_id

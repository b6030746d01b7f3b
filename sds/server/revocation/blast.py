"""What a revocation would hit: read from one snapshot, and said in numbers, names and plain sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId
from ca.authority import AuthorityKind, AuthorityState
from ca.bundle import TrustBundle
from ca.profile import ProfileName
from ca.revocation import MAX_REVOKED, Reason
from ca.upstreams import nested
from sds.admin.services.revocations import (
    MAX_LISTED,
    BlastRadius,
    LostCertificate,
    OutOfReach,
    RevocationOrder,
    Unreached,
)
from sds.delivery.resource import SpiffeValidator, make_resource
from sds.server.downstream.lists import issuers_below
from sds.store.errors import NotFound
from sds.store.records import EntryFilter, StreamRecord
from sds.store.revocation.records import BlockKind, Concerned
from sds.store.unit_of_work import UnitOfWork

EVERY_BUNDLE = "ALL"
_PAGE = 1000
_FEW = 200

OPEN_CONNECTIONS = "connections that are open now live on until they are closed: see max_connection_duration"
TOKENS = "JWT-SVIDs that were issued stay valid until they expire"
OUT_OF_BUNDLE = (
    "the authority leaves the bundle: every sidecar refuses all that it issued, whatever it checks CRLs with"
)
ACTIVE_AUTHORITY = "this is the active authority: another one is activated first, whoever has its bundle"
INTERMEDIATE = (
    "sidecars check the CRL of the leaf's issuer only: leaves below a revoked intermediate are still accepted"
)
UNKNOWN = "nothing is known by this name; it is blocked should it appear"


def survey(uow: UnitOfWork, order: RevocationOrder, value: str, bundle: TrustBundle) -> BlastRadius:
    """`value` is the order's, in its one form (target.py); `bundle` what sidecars are told now."""
    certificates = uow.revocations.concerned(order.kind, value, limit=MAX_REVOKED + 1)
    revoked = uow.revocations.find(one.serial for one in certificates)
    serials = frozenset(one.serial for one in certificates)
    streams = list(_all_streams(uow))
    holding = [one for one in streams if _holds(one, order.kind, value, serials)]
    unreached: list[Unreached] = []
    if certificates and order.kind is not BlockKind.AUTHORITY:
        unreached = list(_unreached(streams, _validator_version(bundle), told=_lists_are_told(uow)))
    entries = _entries(uow, order.kind, value, certificates)
    identities = sorted({str(one.spiffe_id) for one in certificates})
    agents = sorted({str(one.agent_id) for one in certificates if one.agent_id} | _named_agent(order.kind, value))
    return BlastRadius(
        certificates=len(certificates),
        fresh=len(certificates) - len(revoked),
        listed=tuple(_listed(certificates[:MAX_LISTED], revoked.keys())),
        identities=tuple(identities[:MAX_LISTED]),
        identities_total=len(identities),
        entries=tuple(sorted(entries)[:MAX_LISTED]),
        entries_total=len(entries),
        agents=tuple(agents[:MAX_LISTED]),
        agents_total=len(agents),
        owners=tuple(sorted({one.spec.owner for one in entries.values() if one.spec.owner})[:MAX_LISTED]),
        streams=tuple(holding[:MAX_LISTED]),
        streams_total=len(holding),
        unreached=tuple(unreached[:MAX_LISTED]),
        unreached_total=len(unreached),
        last_expiry=max((one.not_after for one in certificates), default=None),
        notes=tuple(_notes(uow, order, value, certificates, unreached)),
    )


def _all_streams(uow: UnitOfWork) -> Iterator[StreamRecord]:
    cursor = None
    while True:
        page = uow.streams.list(cursor=cursor, limit=_PAGE)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def _holds(stream: StreamRecord, kind: BlockKind, value: str, serials: frozenset[str]) -> bool:
    """Whether the stream has been sent a certificate that is concerned, or bears what is blocked."""
    if kind is BlockKind.AGENT and str(stream.agent_id) == value:
        return True
    if kind is BlockKind.SPIFFE_ID and value in stream.spiffe_ids:
        return True
    return any(one.sent_serial in serials or one.acked_serial in serials for one in stream.resources)


def _lists_are_told(uow: UnitOfWork) -> bool:
    """Whether sidecars get CRLs at all in this trust domain."""
    nested_below_others = any(one.upstream == nested.NAME and not one.revoked for one in uow.authorities.all())
    return not (nested_below_others or issuers_below(uow))


def _validator_version(bundle: TrustBundle) -> str:
    """Of our bundle in the form for Envoy's SPIFFE validator: who holds that has asked for it by node metadata."""
    content = SpiffeValidator(((bundle.trust_domain.name, bundle.pem()),))
    return make_resource(str(bundle.trust_domain.id), content).version


def _unreached(streams: Iterable[StreamRecord], validator: str, *, told: bool) -> Iterator[Unreached]:
    for stream in streams:
        why = _out_of_reach(stream, validator) if told else OutOfReach.OTHER_SERVERS
        if why is not None:
            yield Unreached(stream, why)


def _out_of_reach(stream: StreamRecord, validator: str) -> OutOfReach | None:
    """By what agents report: a CRL has no effect where this is not None."""
    if stream.protocol == "workload-api":
        return OutOfReach.WORKLOAD_API
    if any(one.name == EVERY_BUNDLE or one.sent_version == validator for one in stream.resources):
        return OutOfReach.SPIFFE_VALIDATOR
    program = PurePosixPath(stream.process.path).name
    if program.startswith("mosn") or "mosn" in stream.node_id.lower():
        return OutOfReach.MOSN
    return None


def _entries(
    uow: UnitOfWork, kind: BlockKind, value: str, certificates: Sequence[Concerned]
) -> dict[str, RegistrationEntry]:
    """Those that are blocked, and those under which the certificates were issued, as far as they still stand."""
    wanted = {one.entry_id for one in certificates if one.entry_id}
    found: dict[str, RegistrationEntry] = {}
    if kind is BlockKind.ENTRY:
        wanted.add(value)
    elif kind is BlockKind.SPIFFE_ID:
        page = uow.entries.list(EntryFilter(spiffe_id=SpiffeId.parse(value)), limit=_PAGE)
        found |= {one.id: one for one in page.items}
    elif kind is BlockKind.AGENT:
        found |= {one.id: one for one in uow.entries.all_for(SpiffeId.parse(value))}
    missing = wanted - found.keys()
    if len(missing) > _FEW:
        return found | {one.id: one for one in uow.entries.all() if one.id in missing}
    for entry_id in missing:
        try:
            found[entry_id] = uow.entries.get(entry_id)
        except NotFound:
            continue
    return found


def _named_agent(kind: BlockKind, value: str) -> set[str]:
    return {value} if kind is BlockKind.AGENT else set()


def _listed(certificates: Sequence[Concerned], revoked: Iterable[str]) -> Iterator[LostCertificate]:
    known = frozenset(revoked)
    for one in certificates:
        yield LostCertificate(
            one.serial, one.spiffe_id, one.profile, one.authority_id, one.not_after, one.agent_id, one.serial in known
        )


def _notes(
    uow: UnitOfWork,
    order: RevocationOrder,
    value: str,
    certificates: Sequence[Concerned],
    unreached: Sequence[Unreached],
) -> Iterator[str]:
    if not certificates and order.kind in {BlockKind.SPIFFE_ID, BlockKind.KEY}:
        yield UNKNOWN
    if len(certificates) > MAX_REVOKED:
        yield f"more than {MAX_REVOKED} certificates are concerned: too many for a CRL"
    if certificates:
        yield OPEN_CONNECTIONS
    if order.kind is BlockKind.AUTHORITY:
        yield from _authority_notes(uow, value)
    elif order.kind is not BlockKind.KEY:
        yield TOKENS
    for why, number in sorted(Counter(one.why for one in unreached).items()):
        yield f"{number} live streams go on accepting what is revoked: {_WHY[why]}"
    if any(one.profile == "intermediate" for one in certificates) and order.kind is not BlockKind.AUTHORITY:
        yield INTERMEDIATE
    if any(one.profile == ProfileName.SERVER for one in certificates):
        yield "a server's own certificate is among them; it gets another one by itself"
    if order.reason is Reason.CERTIFICATE_HOLD:
        yield "it is a hold: lifting the block makes these certificates good again"


_WHY: Mapping[OutOfReach, str] = {
    OutOfReach.SPIFFE_VALIDATOR: "Envoy's SPIFFE validator (ALL) looks at no CRL",
    OutOfReach.MOSN: "MOSN reads no CRL",
    OutOfReach.OTHER_SERVERS: "other servers issue in this trust domain, and there are CRLs of all issuers or none",
    OutOfReach.WORKLOAD_API: "the Workload API hands CRLs out, and most libraries look at none",
}


def _authority_notes(uow: UnitOfWork, authority_id: str) -> Iterator[str]:
    authority = uow.authorities.get(authority_id)
    if authority.kind is AuthorityKind.X509:
        yield OUT_OF_BUNDLE
    if authority.state is AuthorityState.ACTIVE:
        yield ACTIVE_AUTHORITY

"""What the admin API needs from the server: Protocols and domain values, implemented in `sds.server`. One file a noun.

Errors that every method may raise, and what `problems.py` makes of them:
`sds.store.errors`: NotFound 404, AlreadyExists 409, Conflict 412, StoreUnavailable 503;
`sds.admin.errors`: InvalidInput 422, TooManyRequests 429; `attestation.errors`: Invalid... 422;
`ca.errors`: AuthorityUnavailable 503, IssuanceRefused and RotationRefused 409, KeyUnwrapFailed 503;
`sds.secrets.errors`: InvalidSecret 422, SecretUnavailable 503, other errors of a source 409.
Anything else is a 500 without detail.

Methods that change something take an `AdminCall` first: its actor and request id belong into the audit event, which is
appended in the transaction of the change (fail closed).
"""

from __future__ import annotations

from dataclasses import dataclass

from sds.admin.services.agents import AgentAdmin, AgentInfo, AgentQuery
from sds.admin.services.audit import AuditAdmin, AuditQuery, AuditRow, UnreadableRow
from sds.admin.services.authorities import AuthorityAdmin, AuthorityInfo, AuthorityOverview
from sds.admin.services.certificates import CertificateAdmin
from sds.admin.services.common import NOBODY, AdminCall, Caller, CallerKind, Page, local_caller
from sds.admin.services.entries import (
    ApplyAction,
    ApplyChange,
    ApplyItem,
    CreatedEntry,
    DeletedEntry,
    EntryAdmin,
    EntryQuery,
    PruneScope,
)
from sds.admin.services.explain import ExplainAdmin
from sds.admin.services.federations import CreatedFederation, FederationAdmin, FederationInfo
from sds.admin.services.grants import GrantAdmin
from sds.admin.services.idempotency import IdempotencyAdmin
from sds.admin.services.jwt import JwtAdmin, MintedToken, MintOrder
from sds.admin.services.ledger import LedgerAdmin
from sds.admin.services.notices import NoticeAdmin, NoticeQuery, TestedNotice
from sds.admin.services.revocations import Revocation, RevocationAdmin, RevocationOrder
from sds.admin.services.secrets import SecretAdmin
from sds.admin.services.sinks import SinkAdmin
from sds.admin.services.statistics import StatisticsAdmin
from sds.admin.services.streams import ProcessInfo, StreamAdmin, StreamInfo, StreamQuery
from sds.admin.services.trust import BundleAdmin, IssuedToken, KekAdmin, KekRotation, TokenAdmin

__all__ = [
    "NOBODY",
    "AdminCall",
    "AdminServices",
    "AgentAdmin",
    "AgentInfo",
    "AgentQuery",
    "ApplyAction",
    "ApplyChange",
    "ApplyItem",
    "AuditAdmin",
    "AuditQuery",
    "AuditRow",
    "AuthorityAdmin",
    "AuthorityInfo",
    "AuthorityOverview",
    "BundleAdmin",
    "Caller",
    "CallerKind",
    "CertificateAdmin",
    "CreatedEntry",
    "CreatedFederation",
    "DeletedEntry",
    "EntryAdmin",
    "EntryQuery",
    "ExplainAdmin",
    "FederationAdmin",
    "FederationInfo",
    "GrantAdmin",
    "IdempotencyAdmin",
    "IssuedToken",
    "JwtAdmin",
    "KekAdmin",
    "KekRotation",
    "LedgerAdmin",
    "MintOrder",
    "MintedToken",
    "NoticeAdmin",
    "NoticeQuery",
    "Page",
    "ProcessInfo",
    "PruneScope",
    "Revocation",
    "RevocationAdmin",
    "RevocationOrder",
    "SecretAdmin",
    "SinkAdmin",
    "StatisticsAdmin",
    "StreamAdmin",
    "StreamInfo",
    "StreamQuery",
    "TestedNotice",
    "TokenAdmin",
    "UnreadableRow",
    "local_caller",
]


@dataclass(frozen=True, slots=True)
class AdminServices:
    """All of it, handed to `create_app`."""

    entries: EntryAdmin
    agents: AgentAdmin
    streams: StreamAdmin
    tokens: TokenAdmin
    bundle: BundleAdmin
    kek: KekAdmin
    authorities: AuthorityAdmin
    jwt: JwtAdmin
    federations: FederationAdmin
    revocations: RevocationAdmin
    secrets: SecretAdmin
    grants: GrantAdmin
    audit: AuditAdmin
    ledger: LedgerAdmin
    sinks: SinkAdmin
    notices: NoticeAdmin
    certificates: CertificateAdmin
    explain: ExplainAdmin
    statistics: StatisticsAdmin
    idempotency: IdempotencyAdmin

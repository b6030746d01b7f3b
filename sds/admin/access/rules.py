"""Who may do what: one line an operation of the API. What has no line here may not be done by anybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from sds.admin.access.roles import Role

VIEWERS = frozenset(Role)
AUDITORS = frozenset({Role.AUDITOR, Role.ADMIN})
READERS = frozenset({Role.AUDITOR, Role.OPERATOR, Role.ADMIN})
OPERATORS = frozenset({Role.OPERATOR, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})


class Scoping(StrEnum):
    """What an operation is to a caller whose role holds for a part of the trust domain only.

    `NOT_SCOPED`: refused. `PUBLIC`: the same as for everybody who has the role. `FILTERED`: the handler answers only
    what lies within. `TARGET`: the handler checks what the request acts on. `OPEN`: for everybody, known or not.
    """

    NOT_SCOPED = "not_scoped"
    PUBLIC = "public"
    FILTERED = "filtered"
    TARGET = "target"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Rule:
    """The roles that may, and what limits mean.

    Every call is in the audit log. `sensitive`: where it cannot be written, nothing is read. `unnoted`: why calls leave
    nothing there unless they are refused.
    """

    roles: frozenset[Role]
    scoping: Scoping = Scoping.NOT_SCOPED
    sensitive: bool = False
    unnoted: str = ""


_FILTERED, _TARGET, _PUBLIC = Scoping.FILTERED, Scoping.TARGET, Scoping.PUBLIC
_PROBE = "asked every few seconds by programs, and says how this process is"
_LOGIN = "nobody is known yet; admin.login says who got in and who did not"

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "api.describe": Rule(VIEWERS, _PUBLIC, unnoted="the description of this API, which is the same everywhere"),
        "server.live": Rule(VIEWERS, _PUBLIC, unnoted=_PROBE),
        "server.ready": Rule(VIEWERS, _PUBLIC, unnoted=_PROBE),
        "server.metrics": Rule(VIEWERS),
        # The caller's own.
        "access.whoami": Rule(VIEWERS, _PUBLIC),
        "session.login": Rule(frozenset(), Scoping.OPEN, unnoted=_LOGIN),
        "session.login.oidc": Rule(frozenset(), Scoping.OPEN, unnoted=_LOGIN),
        "session.login.callback": Rule(frozenset(), Scoping.OPEN, unnoted=_LOGIN),
        "session.logout": Rule(frozenset(), Scoping.OPEN, unnoted="admin.logout says so where there was a session"),
        # Pages. What one shows and does is asked of the operations below, by the same caller.
        "page.show": Rule(VIEWERS, _PUBLIC),
        "page.act": Rule(VIEWERS, _PUBLIC),
        "page.live": Rule(VIEWERS, _PUBLIC, unnoted="which pages changed, and nothing of them; pages are noted"),
        "page.asset": Rule(frozenset(), Scoping.OPEN, unnoted="style sheets and scripts, the same for everybody"),
        "page.login": Rule(frozenset(), Scoping.OPEN, unnoted="an empty form"),
        # Who may use this.
        "access.token.list": Rule(AUDITORS, sensitive=True),
        "access.token.create": Rule(ADMINS, _TARGET),
        "access.token.bootstrap": Rule(ADMINS),
        "access.token.revoke": Rule(ADMINS),
        "access.binding.list": Rule(AUDITORS, sensitive=True),
        "access.binding.create": Rule(ADMINS, _TARGET),
        "access.binding.delete": Rule(ADMINS),
        "approval.list": Rule(READERS),
        "approval.show": Rule(READERS),
        "approval.approve": Rule(OPERATORS),
        "approval.reject": Rule(OPERATORS),
        # Inventory.
        "entry.list": Rule(VIEWERS, _FILTERED),
        "entry.show": Rule(VIEWERS, _TARGET),
        "entry.create": Rule(OPERATORS, _TARGET),
        "entry.update": Rule(OPERATORS, _TARGET),
        "entry.delete": Rule(OPERATORS, _TARGET),
        "entry.apply": Rule(OPERATORS),
        "entry.import": Rule(OPERATORS),
        "entry.export": Rule(AUDITORS, _FILTERED, sensitive=True),
        "agent.export": Rule(AUDITORS, _FILTERED, sensitive=True),
        "stream.export": Rule(AUDITORS, _FILTERED, sensitive=True),
        "grant.export": Rule(AUDITORS, sensitive=True),
        "revocation.export": Rule(AUDITORS, sensitive=True),
        "agent.list": Rule(VIEWERS, _FILTERED),
        "agent.show": Rule(VIEWERS, _TARGET),
        "agent.ban": Rule(OPERATORS, _TARGET),
        "agent.delete": Rule(OPERATORS, _TARGET),
        "stream.list": Rule(VIEWERS, _FILTERED),
        "explain": Rule(READERS, _FILTERED),
        "statistics.show": Rule(VIEWERS),
        "certificate.list": Rule(VIEWERS, _FILTERED),
        "certificate.show": Rule(VIEWERS, _FILTERED),
        "certificate.find": Rule(VIEWERS, _FILTERED, sensitive=True),
        "certificate.export": Rule(AUDITORS, _FILTERED, sensitive=True),
        "token.create": Rule(OPERATORS),
        "token.create.downstream": Rule(ADMINS),  # a server below this one signs for the whole trust domain
        # What is issued.
        "bundle.show": Rule(VIEWERS, _PUBLIC),
        "authority.list": Rule(VIEWERS, _PUBLIC),
        "authority.show": Rule(VIEWERS, _PUBLIC),
        "authority.prepare": Rule(ADMINS),
        "authority.activate": Rule(ADMINS),
        "authority.taint": Rule(ADMINS),
        "authority.revoke": Rule(ADMINS),
        "kek.rotate": Rule(ADMINS),
        "token.issue": Rule(OPERATORS, _TARGET),  # of an entry: for who may act on everything
        "token.verify": Rule(VIEWERS, _PUBLIC),
        "revocation.list": Rule(VIEWERS),  # what is within somebody's part, their certificates say
        "revocation.create": Rule(OPERATORS, _TARGET),
        "block.list": Rule(VIEWERS),
        "block.show": Rule(VIEWERS),
        "block.lift": Rule(OPERATORS),
        # Other trust domains.
        "federation.list": Rule(VIEWERS, _PUBLIC),
        "federation.show": Rule(VIEWERS, _PUBLIC),
        "federation.bundle.show": Rule(VIEWERS, _PUBLIC),
        "federation.refresh": Rule(OPERATORS),
        "federation.create": Rule(ADMINS),
        "federation.update": Rule(ADMINS),
        "federation.bundle": Rule(ADMINS),
        "federation.delete": Rule(ADMINS),
        # Secrets: what they are, never what they hold.
        "secret.list": Rule(VIEWERS),
        "secret.show": Rule(VIEWERS),
        "secret.versions": Rule(VIEWERS),
        "secret.create": Rule(OPERATORS),
        "secret.update": Rule(OPERATORS),
        "secret.put": Rule(OPERATORS),
        "secret.refresh": Rule(OPERATORS),
        "secret.rollback": Rule(OPERATORS),
        "secret.delete": Rule(OPERATORS),
        # A secret has no place below a SPIFFE ID: who may grant some may grant any.
        "grant.list": Rule(VIEWERS),
        "grant.show": Rule(VIEWERS),
        "grant.check": Rule(READERS),
        "grant.create": Rule(OPERATORS),
        "grant.delete": Rule(OPERATORS),
        # What people are told of.
        "notice.list": Rule(VIEWERS),
        "notice.test": Rule(OPERATORS),
        # The audit log.
        "audit.tail": Rule(AUDITORS, sensitive=True),
        "audit.show": Rule(AUDITORS, sensitive=True),
        "audit.export": Rule(AUDITORS, sensitive=True),
        # They say nothing of any event.
        "audit.proof": Rule(READERS),
        "audit.checkpoint": Rule(READERS),
        "audit.checkpoints": Rule(READERS),
        "audit.consistency": Rule(READERS),
        "audit.keys": Rule(READERS),
        "audit.verify": Rule(AUDITORS),
        "audit.prune": Rule(ADMINS),
        "audit.key.rotate": Rule(ADMINS),
        "audit.sinks": Rule(READERS),
    }
)

"""What notices are made of, read in a few statements."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select

from sds.notices.facts import AgentFact, AuthorityFact, EntryFact, GrantFact, SecretFact, SidecarFact, TokenFact
from sds.secrets.grant import Below, Exactly, Subject
from sds.secrets.secret import DatabaseSource, PkiSource
from sds.store.notices.uses import ENTRY, GRANT
from sds.store.records import NEVER_ACKNOWLEDGED, StreamRecord
from sds.store.secrets import rows as secret_rows
from sds.store.tables import (
    agents,
    api_tokens,
    authorities,
    certificates,
    entries,
    grants,
    last_uses,
    secrets,
)
from sds.store.times import from_micros, from_micros_or_none, to_micros
from sds.store.tx import Tx

ACTIVE = "active"


class NoticeFacts:
    """Reads alone. What may be long is read in parts, so that no transaction is."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def entries(self, after: str, limit: int) -> tuple[EntryFact, ...]:
        """The next `limit` entries by ID that are not over, each with its newest certificate; `holders` is 0."""
        newest = (
            select(certificates.c.number)
            .where(certificates.c.entry_id == entries.c.id)
            .order_by(certificates.c.not_after.desc())
            .limit(1)
            .correlate(entries)
            .scalar_subquery()
        )
        used = (last_uses.c.kind == ENTRY) & (last_uses.c.id == entries.c.id)
        columns = (entries.c.id, entries.c.spiffe_id, entries.c.owner, entries.c.created_at, entries.c.expires_at)
        statement = (
            select(*columns, certificates.c.not_before, certificates.c.not_after, last_uses.c.used_at)
            .select_from(entries)
            .outerjoin(certificates, certificates.c.number == newest)
            .outerjoin(last_uses, used)
            .where(entries.c.id > after)
            .order_by(entries.c.id)
            .limit(limit)
        )
        return tuple(
            EntryFact(
                id=row.id,
                spiffe_id=row.spiffe_id,
                owner=row.owner,
                created_at=from_micros(row.created_at),
                not_before=from_micros_or_none(row.not_before),
                not_after=from_micros_or_none(row.not_after),
                used_at=from_micros_or_none(row.used_at),
                ends_at=from_micros_or_none(row.expires_at),
            )
            for row in self._tx.rows(statement)
        )

    def authorities(self) -> tuple[AuthorityFact, ...]:
        """Those that sign now."""
        columns = (authorities.c.id, authorities.c.kind, authorities.c.not_before, authorities.c.not_after)
        rows = self._tx.rows(select(*columns).where(authorities.c.state == ACTIVE).order_by(authorities.c.id))
        return tuple(
            AuthorityFact(row.id, row.kind, from_micros(row.not_before), from_micros(row.not_after)) for row in rows
        )

    def secrets(self) -> tuple[SecretFact, ...]:
        """Every secret, in order of names."""
        found = []
        for row in self._tx.rows(select(secrets).order_by(secrets.c.name)):
            definition, state = secret_rows.secret(row), secret_rows.state(row)
            spec = definition.spec
            found.append(
                SecretFact(
                    name=spec.name,
                    owner=spec.owner,
                    created_at=definition.created_at,
                    changed_at=state.changed_at,
                    not_after=state.not_after,
                    rotate_every=spec.rotation.every,
                    renewed=bool(spec.rotation.generate) or isinstance(spec.source, DatabaseSource | PkiSource),
                    problem=state.problem,
                    problem_since=state.problem_since,
                )
            )
        return tuple(found)

    def grants(self) -> tuple[GrantFact, ...]:
        """Every grant of a secret, oldest first."""
        used = (last_uses.c.kind == GRANT) & (last_uses.c.id == grants.c.id)
        statement = (
            select(grants, secrets.c.name, secrets.c.owner, last_uses.c.used_at)
            .join_from(grants, secrets, secrets.c.id == grants.c.secret_id)
            .outerjoin(last_uses, used)
            .order_by(grants.c.created_at, grants.c.id)
        )
        return tuple(
            GrantFact(
                id=row.id,
                secret=row.name,
                subject=_subject(secret_rows.subject(row.kind, row.value)),
                owner=row.owner,
                created_at=from_micros(row.created_at),
                used_at=from_micros_or_none(row.used_at),
            )
            for row in self._tx.rows(statement)
        )

    def agents(self) -> tuple[AgentFact, ...]:
        """Every agent that is not banned."""
        rows = self._tx.rows(select(agents).where(agents.c.banned_at.is_(None)).order_by(agents.c.spiffe_id))
        return tuple(
            AgentFact(
                row.spiffe_id,
                from_micros(max(row.attested_at, row.renewed_at or 0, row.last_seen or 0)),
                from_micros(row.not_after),
            )
            for row in rows
        )

    def tokens(self) -> tuple[TokenFact, ...]:
        """API tokens that may be used now. The one that is there for the first login is not missed."""
        columns = (api_tokens.c.id, api_tokens.c.name, api_tokens.c.created_at, api_tokens.c.expires_at)
        live = api_tokens.c.revoked_at.is_(None) & (api_tokens.c.expires_at > to_micros(self._tx.now))
        rows = self._tx.rows(select(*columns).where(live, api_tokens.c.bootstrap == 0).order_by(api_tokens.c.id))
        return tuple(
            TokenFact(row.id, row.name, from_micros(row.created_at), from_micros(row.expires_at)) for row in rows
        )

    def owners(self) -> Mapping[str, str]:
        """The owner of each SPIFFE ID whose entry names one."""
        rows = self._tx.rows(select(entries.c.spiffe_id, entries.c.owner).where(entries.c.owner != ""))
        return {row.spiffe_id: row.owner for row in rows}


def sidecar(stream: StreamRecord, owners: Mapping[str, str]) -> SidecarFact | None:
    """What is wrong with a stream; None if it is where it should be. Clients that never acknowledge cannot lag."""
    rejected = [one for one in stream.resources if one.nacked_version and one.nacked_version == one.sent_version]
    behind = [
        one
        for one in stream.resources
        if stream.protocol != NEVER_ACKNOWLEDGED
        and one.sent_version != one.acked_version
        and one not in rejected
        and one.sent_at is not None
    ]
    if not rejected and not behind:
        return None
    since: datetime | None = min((one.sent_at for one in behind if one.sent_at is not None), default=None)
    return SidecarFact(
        agent_id=str(stream.agent_id),
        stream_id=stream.stream_id,
        workload=stream.spiffe_ids[0] if stream.spiffe_ids else stream.node_id or f"process {stream.process.pid}",
        owner=next((owners[each] for each in stream.spiffe_ids if each in owners), ""),
        behind=tuple(one.name for one in behind),
        behind_since=since,
        rejected=tuple(one.name for one in rejected),
        detail=next((one.nack_detail for one in rejected if one.nack_detail), ""),
    )


def _subject(subject: Subject) -> str:
    match subject:
        case Exactly(spiffe_id):
            return str(spiffe_id)
        case Below(prefix):
            return f"{prefix} and below"
    return ",".join(f"{name}={value}" for name, value in sorted(subject.labels.items()))

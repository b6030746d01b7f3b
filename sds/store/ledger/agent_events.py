"""How far what agents saw is taken in: by agent and run, the last number. Bookkeeping, so not audited."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select

from attestation.spiffe_id import SpiffeId
from sds.store.tables import agent_events
from sds.store.times import to_micros
from sds.store.tx import Tx

MAX_RUNS = 16
"""Of one agent that are remembered: the ones heard of last."""


class AgentEvents:
    """Rows by agent and run."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def position(self, agent_id: SpiffeId, run_id: str) -> int:
        """The last number of the run that was taken in; 0 for none."""
        columns = agent_events.c
        statement = select(columns.number).where(columns.agent_id == str(agent_id), columns.run_id == run_id)
        return int(self._tx.scalar(statement) or 0)

    def set_position(self, agent_id: SpiffeId, run_id: str, number: int) -> None:
        """Remember it, in the transaction that takes the events in: repeats are then recognised for sure."""
        values = {"number": number, "seen_at": to_micros(self._tx.now)}
        new = self._tx.insert(agent_events).values(agent_id=str(agent_id), run_id=run_id, **values)
        self._tx.note(new.on_conflict_do_update(index_elements=["agent_id", "run_id"], set_=values))
        columns = agent_events.c
        runs = select(columns.run_id).where(columns.agent_id == str(agent_id))
        kept = runs.order_by(columns.seen_at.desc(), columns.run_id).limit(MAX_RUNS)
        self._tx.note(delete(agent_events).where(columns.agent_id == str(agent_id), columns.run_id.not_in(kept)))

    def purge(self, before: datetime) -> int:
        """Forget runs that were not heard of since; returns how many."""
        return self._tx.note(delete(agent_events).where(agent_events.c.seen_at < to_micros(before))).rowcount

    def forget(self, agent_id: SpiffeId) -> None:
        """Forget all runs of an agent."""
        self._tx.note(delete(agent_events).where(agent_events.c.agent_id == str(agent_id)))

"""Which connections end with an agent's admission."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from attestation.spiffe_id import SpiffeId
from sds.server.listener import AgentConnections
from tests.fakes.wait import until

AGENT = SpiffeId.parse("spiffe://example.org/sds/agent/one")
OTHER = SpiffeId.parse("spiffe://example.org/sds/agent/two")


class FakeConnection:
    def __init__(self) -> None:
        self.reason = ""
        self._on_close: list[Callable[[], None]] = []

    def on_close(self, callback: Callable[[], None]) -> None:
        self._on_close.append(callback)

    def close(self, reason: str) -> None:
        if not self.reason:
            self.reason = reason
            for callback in self._on_close:
                callback()


async def test_who_is_let_in_again_keeps_what_it_opened_since() -> None:
    """Deleted, and attested anew with another token before the former connections have been cut."""
    connections = AgentConnections()
    before, also, since, others = (FakeConnection() for _ in range(4))
    for agent_id, connection in ((AGENT, before), (AGENT, also), (OTHER, others)):
        connections.seen(agent_id, connection)  # type: ignore[arg-type]
    connections.agent_changed(AGENT, None)
    connections.seen(AGENT, since)  # type: ignore[arg-type]
    assert not before.reason, "its streams are told why first"
    await until(lambda: before.reason and also.reason)
    await asyncio.sleep(0.05)
    assert (before.reason, also.reason, since.reason, others.reason) == ("banned", "banned", "", "")
    connections.agent_changed(AGENT, None)
    await until(lambda: since.reason)

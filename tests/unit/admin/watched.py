"""An application over fakes, whose audit log tests look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
from fastapi.routing import APIRoute

from sds.admin.access.roles import Right
from sds.admin.app import Api
from tests.fakes.admin_services import FakeServices
from tests.fakes.clock import FakeClock
from tests.unit.admin.test_rules import Anyone, everything

ENTRY = {
    "spiffe_id": "spiffe://example.org/web",
    "parent_id": "spiffe://example.org/sds/agent/a",
    "selectors": ["unix:uid:1000"],
}


@dataclass
class World:
    """An application over fakes, and who asks it."""

    fakes: FakeServices
    clock: FakeClock
    api: Api
    door: Anyone
    http: httpx.AsyncClient

    def events(self, request_id: str) -> list[str]:
        """Actions and readings of one request."""
        decided = [row.event.action for row in self.fakes.audit.rows if row.event.request_id == request_id]
        return decided + [each.operation for call, each in self.fakes.audit.reads if call.request_id == request_id]

    @property
    def reads(self) -> list[tuple[str, str, str]]:
        return [(each.operation, each.target, each.asked) for _, each in self.fakes.audit.reads]


def made(build: Callable[[FakeServices, FakeClock], Api], *rights: Right) -> World:
    clock, door = FakeClock(), Anyone(*rights)
    fakes = FakeServices(clock.now)
    api = build(fakes, clock)
    transport = httpx.ASGITransport(api.behind(door), raise_app_exceptions=False)
    return World(fakes, clock, api, door, httpx.AsyncClient(transport=transport, base_url="http://sds"))


def _routes() -> Iterator[APIRoute]:
    for route in everything(FakeServices(FakeClock().now)).app.routes:
        assert isinstance(route, APIRoute)
        yield route


ROUTES = list(_routes())

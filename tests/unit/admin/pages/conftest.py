"""The pages over fakes, without a socket: whoever a test says is who asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from sds.admin.app import create_api
from tests.fakes.admin_services import FakeServices
from tests.fakes.clock import FakeClock
from tests.fakes.pages import Somebody, furnish


@dataclass
class Site:
    fakes: FakeServices
    clock: FakeClock
    door: Somebody
    http: httpx.AsyncClient

    async def form(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        """As a browser sends a form of this site."""
        given = {"Sec-Fetch-Site": "same-origin", "Origin": "http://sds.test", **headers}
        return await self.http.post(path, data={"csrf": self.door.csrf, **(fields or {})}, headers=given)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    clock = FakeClock()
    fakes = FakeServices(clock.now)
    await furnish(fakes, clock)
    door = Somebody()
    app = create_api(fakes.services, clock=clock).behind(door)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sds.test") as http:
        yield Site(fakes, clock, door, http)

"""The pages over the fake services on loopback TCP: a browser speaks to no Unix socket, so a test says who asks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sds.admin.access.roles import ALL_RIGHTS, Right, Role
from sds.admin.app import create_api
from sds.clock import SystemClock
from sds.http.unix import HttpServer, serve_tcp
from tests.fakes.admin_services import FakeServices
from tests.fakes.pages import Somebody, Texts, furnish

T = TypeVar("T")


class Served:
    """A server in a thread of its own, with everything in it; `door` says who asks next."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.base = ""
        self.door = Somebody()
        self.fakes: FakeServices

    def do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(30)

    def be(self, role: Role | None, csrf: str = "") -> None:
        """From now on requests come from somebody with this role alone; None: with all rights."""
        self.door.rights = ALL_RIGHTS if role is None else (Right(role),)
        self.door.csrf = csrf


@contextmanager
def served(texts: Texts | None = None) -> Iterator[Served]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="pages")
    thread.start()
    try:
        running = Served(loop)
        clock = SystemClock()

        async def start() -> HttpServer:
            running.fakes = FakeServices(clock.now)
            await furnish(running.fakes, clock, texts)
            app = create_api(running.fakes.services, clock=clock).behind(running.door)
            server = serve_tcp(app, "127.0.0.1", 0)
            await server.start()
            return server

        server = running.do(start)
        running.base = f"http://127.0.0.1:{server.port}"
        try:
            yield running
        finally:
            running.do(lambda: server.stop(1.0))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()

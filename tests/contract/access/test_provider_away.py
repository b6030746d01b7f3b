"""An OpenID provider that cannot be asked: nobody who shows tokens can make everybody wait for it again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest

from sds.server.access.oidc import AGAIN, Provider, ProviderOptions, ProviderUnavailable
from tests.fakes.clock import FakeClock

MANY = 8


@dataclass
class Broken:
    """Takes connections and answers nothing."""

    port: int = 0
    asked: int = 0

    async def hang_up(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        writer.close()


@asynccontextmanager
async def broken() -> AsyncIterator[Broken]:
    made = Broken()
    server = await asyncio.start_server(made.hang_up, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


async def test_many_tokens_while_it_is_away_ask_it_once() -> None:
    async with broken() as away:
        clock = FakeClock()
        issuer = f"http://127.0.0.1:{away.port}"
        provider = Provider(ProviderOptions(issuer, None, "sds", "groups", "email", timedelta(hours=1)), clock)
        assert await asyncio.gather(*(provider.bearer("a.b.c") for _ in range(MANY))) == [None] * MANY
        assert away.asked == 1
        with pytest.raises(ProviderUnavailable, match="a moment ago"):
            await provider.discovered()
        clock.advance(AGAIN.total_seconds())
        assert await provider.bearer("a.b.c") is None
        assert away.asked == 2

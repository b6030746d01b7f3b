"""Single requests, counted as the steady traffic counts its own."""

from __future__ import annotations

import httpx

from sds.demo.traffic import Tally, Traffic


async def one_request(url: str, tally: Tally, *, http2: bool = False) -> Tally:
    """One request over a connection of its own."""
    async with httpx.AsyncClient(http1=not http2, http2=http2, timeout=10, trust_env=False) as client:
        await Traffic(url, tally, http2=http2).once(client)
    return tally

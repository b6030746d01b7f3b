"""How often Vault is asked when many KV secrets are wanted: requests a second, and the time between two looks at each.

`apart`: every secret in a folder of its own, so that each takes a request, as with a Vault that cannot list metadata.
`together`: in folders of a hundred, whose metadata OpenBao lists at once.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.secret.agent import WantingAgent
from benchmarks.secret.seed import Plan, Planned, everybody, sow
from benchmarks.secret.server import Kv, metrics, start_server, stop_server, total
from sds.demo.stack import Stack
from sds.secrets.secret import KvSource

PATH, AGENT, ENTRY = "polling", "sds/agent/polling", "entry-0"
FOLDER = 100
WRITERS = 4
LAYOUTS = ("apart", "together")


def place(layout: str, number: int) -> str:
    return f"{layout}/{number}/value" if layout == "apart" else f"{layout}/{number // FOLDER}/{number}"


@dataclass(frozen=True, slots=True)
class Times:
    """`budget`: requests a second; `fill`: how long all values are waited for, and `window`: what is measured then."""

    budget: float
    fill: float
    window: float


async def measure(folder: Path, kv: Kv, layout: str, secrets: int, times: Times) -> dict[str, object]:
    """Where not all values can be fetched within the budget in time, it says how many were."""
    paths = [place(layout, number) for number in range(secrets)]
    with ThreadPoolExecutor(WRITERS) as pool:
        await asyncio.gather(
            *(asyncio.get_running_loop().run_in_executor(pool, kv.write, path, "value") for path in paths)
        )
    stack = Stack(folder, server_env=kv.env | {"SDS_SERVER_VAULT__REQUESTS_PER_SECOND": str(times.budget)})
    agent = WantingAgent(stack, AGENT)
    try:
        await start_server(stack)
        await stop_server(stack)
        made = Plan(stack.id(AGENT), {ENTRY: PATH})
        for number, path in enumerate(paths):
            source, grants = KvSource(kv.mount, path, {"": "key"}), (everybody(stack, PATH),)
            made.secrets.append(Planned(f"polling/{number}", source, grants=grants))
        await sow(stack, made)
        await start_server(stack)
        await agent.join()
        found = await _watched(stack, agent, secrets, times)
        return {"layout": layout, "secrets": secrets, "budget": times.budget, **found}
    finally:
        await agent.close()
        await stack.stop()


async def _watched(stack: Stack, agent: WantingAgent, secrets: int, times: Times) -> dict[str, object]:
    wants = [(ENTRY, f"polling/{number}") for number in range(secrets)]
    start = time.monotonic()
    await agent.want(wants)
    filled: float | None = None
    with suppress(TimeoutError):
        filled = await agent.until(wants, start, times.fill) - start
    before, begun = await metrics(stack), time.monotonic()
    await asyncio.sleep(times.window)
    after, seconds = await metrics(stack), time.monotonic() - begun

    def rate(name: str) -> float:
        return round((total(after, name) - total(before, name)) / seconds, 1)

    return {
        "all_values_s": None if filled is None else round(filled, 1),
        "held": len(agent.held),
        "window_s": round(seconds, 1),
        "vault_requests_a_second": rate("sds_server_vault_requests_total"),
        "fetches_a_second": rate("sds_server_secret_fetches_total"),
        "secrets_looked_at_a_second": rate("sds_server_secret_looks_total"),
        "interval_s": round(total(after, "sds_server_secret_poll_interval_seconds"), 1),
    }

"""How many X.509-SVIDs a second the real node API signs, each with its durable record and audit event.

`python -m benchmarks.issue` starts a real server, lets a load process attest as an agent and send batches of CSRs over
mTLS, and compares with the crypto floor of the same run (benchmarks.crypto_floor: parse, verify, build, sign, in one
process and in as many as there are cores), measured before and after. `--in-process` leaves the server out and measures
the CA alone (benchmarks.in_process). Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.crypto_floor import make_csrs, measure, measure_parallel
from benchmarks.in_process import Plan, compare
from benchmarks.lines import LineProcess
from benchmarks.machine import cpu_seconds, facts
from sds.demo.ports import LOOPBACK
from sds.demo.stack import Stack

AGENT = "spiffe://example.org/sds/agent/bench"


async def served(given: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Run the load against a server of our own."""
    stack = Stack(folder, server_env={"SDS_SERVER_DATABASE__URL": given.database} if given.database else {})
    server = await stack.start_server()
    load = None
    try:
        bundle, token = folder / "bundle.pem", folder / "token"
        bundle.write_text((await stack.call("GET", "/v1/bundle?format=pem")).text, encoding="ascii")
        joined = (await stack.call("POST", "/v1/tokens", {"ttl_seconds": 120, "spiffe_id": AGENT})).json()
        token.touch(mode=0o600)
        token.write_text(joined["token"], encoding="ascii")
        stack.agent_id = joined["spiffe_id"]
        entry = await stack.create_entry("bench/issue", ["unix:uid:1"])
        load = LineProcess(
            "benchmarks.signer",
            *("--server", f"{LOOPBACK}:{stack.ports[0]}", "--attest-server", f"{LOOPBACK}:{stack.ports[1]}"),
            *("--bundle", str(bundle), "--token-file", str(token), "--entry", entry["id"]),
            *("--batch", str(given.batch), "--calls", str(given.calls), "--seconds", str(given.seconds)),
        )
        await load.start()
        await load.line(60)
        cpu = cpu_seconds(server.pid)
        await load.send("go")
        result = json.loads(await load.line(given.seconds + 60))
        cpu = cpu_seconds(server.pid) - cpu
        recorded = await stack.call("GET", "/v1/audit?limit=1")
    finally:
        if load is not None:
            await load.stop()
        await stack.stop()
    return {
        "svids_a_second": round(result["signed"] / result["seconds"], 1),
        "signed": result["signed"],
        "call_ms": result["call_ms"],
        "server_cpu_us_a_svid": round(cpu / result["signed"] * 1e6, 1),
        "audited": recorded.status_code == 200,
    }


def run(given: argparse.Namespace) -> dict[str, object]:
    csrs = make_csrs(200)
    cores = os.cpu_count() or 1

    def floor() -> tuple[float, float]:
        return measure(csrs, 2), measure_parallel(csrs, 2, cores)

    print("crypto floor", file=sys.stderr)
    before = floor()
    print("node API", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="sdsb", dir="/tmp") as folder:
        ours = asyncio.run(served(given, Path(folder)))
    print("crypto floor again", file=sys.stderr)
    after = floor()
    one, all_cores = ((a + b) / 2 for a, b in zip(before, after, strict=True))
    rate = float(str(ours["svids_a_second"]))
    return {
        "benchmark": "issue",
        "batch": given.batch,
        "calls": given.calls,
        "node_api": ours,
        "floor": {"one_process": round(one), f"{cores}_processes": round(all_cores)},
        "ratio": {"one_process": round(rate / one, 3), f"{cores}_processes": round(rate / all_cores, 3)},
        "machine": facts(),
    }


def run_in_process(given: argparse.Namespace) -> dict[str, object]:
    """With the batches that the server makes of calls unless told otherwise (limits.max_signing_batch)."""
    plan = Plan(given.seconds, batch=256, identities=1024)
    return {"benchmark": "issue in process", "batch": plan.batch, **compare(plan), "machine": facts()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-process", action="store_true", help="the CA alone, against verify or keygen and one sign")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--batch", type=int, default=100, help="CSRs in one call")
    parser.add_argument("--calls", type=int, default=16, help="calls in flight")
    parser.add_argument("--database", default="", help="a database URL instead of SQLite")
    arguments = parser.parse_args()
    print(json.dumps(run_in_process(arguments) if arguments.in_process else run(arguments), indent=2))

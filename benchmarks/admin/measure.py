"""Asks a running server and takes the time: of whole answers, of a file's start and rate, of a verification."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from benchmarks.admin.calls import EXPORTS, Known, Request, requests
from benchmarks.machine import percentile
from sds.demo.stack import Stack

SHARES = {"p50": 0.50, "p99": 0.99, "max": 1.0}
PAGE = 1000
DEEP = 20
"""Pages of a thousand; the list is followed so far, or to its last page but one."""


@asynccontextmanager
async def client(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """One connection to the admin socket."""
    transport = httpx.AsyncHTTPTransport(uds=str(stack.admin_socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://sds", timeout=600) as made:
        yield made


async def known(http: httpx.AsyncClient) -> Known:
    """What there is to ask for."""

    async def rows(noun: str, **query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await _json(http, f"/v1/{noun}", limit=str(PAGE), **query))[noun]
        return found

    page = await _json(http, "/v1/certificates", limit=str(PAGE))
    certificates, cursor = list(page["certificates"]), ""
    for _ in range(DEEP):
        if not page["next_cursor"]:
            break
        cursor = page["next_cursor"]
        page = await _json(http, "/v1/certificates", limit=str(PAGE), cursor=cursor)
        certificates += page["certificates"]
    events = (await _json(http, "/v1/audit", limit=str(PAGE), before=str(10**9)))["events"]
    issued = [one for one in certificates if one["entry_id"]]
    detail = await _json(http, f"/v1/certificates/{issued[0]['serial']}")
    size = (await _json(http, "/v1/audit/checkpoint"))["size"]
    return Known(
        certificates=issued,
        entries=await rows("entries"),
        agents=await rows("agents"),
        streams=await rows("streams"),
        secrets=await rows("secrets"),
        events=[one for one in events if one["request_id"]],
        newest=size,
        cursor=cursor or (await _json(http, "/v1/certificates", limit="1"))["next_cursor"],
        pem=detail["chain_pem"],
    )


async def answers(http: httpx.AsyncClient, found: Known, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each call, whole answers."""
    measured = {}
    for name, ask in requests(found).items():
        await _asked(http, ask(rounds))  # what is compiled or cached once is not what is measured
        took = sorted([await _asked(http, ask(number)) for number in range(rounds)])
        measured[name] = {share: round(percentile(took, part) * 1e3, 1) for share, part in SHARES.items()}
    return measured


async def exports(http: httpx.AsyncClient) -> dict[str, dict[str, object]]:
    """Of each file: until its first bytes come, and how many rows a second come then."""
    measured: dict[str, dict[str, object]] = {}
    for name, path in EXPORTS.items():
        for kind in ("jsonl", "csv"):
            measured[f"{name}, {kind}"] = await _exported(http, f"{path}?format={kind}")
    return measured


async def verification(http: httpx.AsyncClient, stack: Stack) -> dict[str, object]:
    """The whole log: by the server, and by the command, which also does it itself over an export."""
    started = time.perf_counter()
    answer = await http.post("/v1/audit:verify", json={})
    answer.raise_for_status()
    report = answer.json()
    took = time.perf_counter() - started
    where = ("--admin-socket", str(stack.admin_socket), "--state", str(stack.folder / "audit.json"))
    command = await _command("audit", "verify", *where)
    return {
        "ok": report["ok"],
        "events": report["size"],
        "api_seconds": round(took, 2),
        "command_seconds": round(command, 2),
    }


async def _command(*arguments: str) -> float:
    """Seconds of `sds ARGUMENTS`. Raises RuntimeError if it fails."""
    started = time.perf_counter()
    pipe = asyncio.subprocess.PIPE
    argv = (sys.executable, "-m", "sds.cli.main", *arguments)
    process = await asyncio.create_subprocess_exec(*argv, stdout=pipe, stderr=pipe)
    out, said = await process.communicate()
    if process.returncode:
        raise RuntimeError(
            f"sds {' '.join(arguments)} ended with {process.returncode}: {(said or out).decode()[-2000:]}"
        )
    return time.perf_counter() - started


async def _asked(http: httpx.AsyncClient, request: Request) -> float:
    started = time.perf_counter()
    headers = {"accept": "text/html"} if request.html else {}
    answer = await http.request(request.method, request.path, json=request.body, headers=headers)
    took = time.perf_counter() - started
    if answer.status_code != 200 or request.html != answer.headers["content-type"].startswith("text/html"):
        raise RuntimeError(f"{request.method} {request.path}: {answer.status_code} {answer.text[:500]}")
    return took


async def _exported(http: httpx.AsyncClient, path: str) -> dict[str, object]:
    started, first, rows, size, last = time.perf_counter(), 0.0, 0, 0, b""
    end = b"\r\n" if path.endswith("csv") else b"\n"  # a cell may have lines of its own
    async with http.stream("GET", path) as answer:
        if answer.status_code != 200:
            raise RuntimeError(f"{path}: {answer.status_code} {(await answer.aread()).decode()[:500]}")
        async for part in answer.aiter_bytes():
            first = first or time.perf_counter() - started
            rows += (last + part).count(end)
            last = part[-1:] if part.endswith(b"\r") else b""
            size += len(part)
    took = time.perf_counter() - started
    return {
        "first_byte_ms": round(first * 1e3, 1),
        "rows": rows,
        "rows_a_second": round(rows / took),
        "megabytes": round(size / 1e6, 1),
    }


async def _json(http: httpx.AsyncClient, path: str, **query: str) -> dict[str, Any]:
    answer = await http.get(path, params=query)
    if answer.status_code != 200:
        raise RuntimeError(f"{path}: {answer.status_code} {answer.text[:500]}")
    found: dict[str, Any] = answer.json()
    return found

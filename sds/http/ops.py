"""The routes that operators' tools ask: ``/live``, ``/ready`` and ``/metrics``. Nothing secret is in the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

Check = Callable[[], Awaitable[str | None]]
"""None when all is well, else what is wrong, safe to show."""

CHECK_SECONDS = 5.0

log = structlog.get_logger(__name__)


def ops_routes(
    *,
    live: Mapping[str, Check],
    ready: Mapping[str, Check],
    registry: CollectorRegistry,
    degraded: Mapping[str, Check] | None = None,
) -> list[BaseRoute]:
    """``/live`` (restart me if not 200), ``/ready`` (send me nothing new if not 200) and ``/metrics``.

    The first two answer ``{"status": "ok"|"degraded"|"failing", "checks": {name: {"ok": bool, "reason": str}}}``. What
    `degraded` finds is shown by ``/ready`` without turning anybody away: there is much that can still be served.
    """

    async def answer_live(_request: Request) -> Response:
        return await _answer(live, {})

    async def answer_ready(_request: Request) -> Response:
        return await _answer(ready, degraded or {})

    async def answer_metrics(request: Request) -> Response:
        encoder, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encoder(registry), headers={"content-type": content_type, "cache-control": "no-store"})

    return [
        Route("/live", answer_live, methods=["GET"]),
        Route("/ready", answer_ready, methods=["GET"]),
        Route("/metrics", answer_metrics, methods=["GET"]),
    ]


async def _answer(vital: Mapping[str, Check], others: Mapping[str, Check]) -> Response:
    checks = {**vital, **others}
    reasons = dict(zip(checks, await asyncio.gather(*(_ask(*named) for named in checks.items())), strict=True))
    failing = any(reasons[name] is not None for name in vital)
    degraded = any(reasons[name] is not None for name in others)
    body = {
        "status": "failing" if failing else "degraded" if degraded else "ok",
        "checks": {name: {"ok": reason is None, "reason": reason or ""} for name, reason in reasons.items()},
    }
    return JSONResponse(body, status_code=503 if failing else 200, headers={"cache-control": "no-store"})


async def _ask(name: str, check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
    except Exception as error:
        log.exception("a health check broke", check=name)
        return f"the check itself broke ({type(error).__name__})"

from __future__ import annotations

import httpx
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette

from sds.http.ops import Check, ops_routes


async def well() -> None:
    return None


async def ill() -> str:
    return "no connection to the server since 10:00"


async def broken() -> str:
    raise RuntimeError("secret detail")


def http(registry: CollectorRegistry | None = None, **ready: Check) -> httpx.AsyncClient:
    routes = ops_routes(live={"loop": well}, ready=ready, registry=registry or CollectorRegistry())
    return httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=routes)), base_url="http://sds")


async def test_ready_names_each_check_and_why_it_fails() -> None:
    async with http(upstream=ill, socket=well) as client:
        answer = await client.get("/ready")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "failing",
        "checks": {
            "upstream": {"ok": False, "reason": "no connection to the server since 10:00"},
            "socket": {"ok": True, "reason": ""},
        },
    }


async def test_live_does_not_depend_on_readiness() -> None:
    async with http(upstream=ill) as client:
        answer = await client.get("/live")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


async def test_a_broken_check_fails_without_telling_secrets() -> None:
    async with http(upstream=broken) as client:
        answer = await client.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["checks"]["upstream"] == {"ok": False, "reason": "the check itself broke (RuntimeError)"}
    assert "secret" not in answer.text


async def test_metrics_come_in_the_format_that_was_asked_for() -> None:
    registry = CollectorRegistry()
    Counter("sds_things", "Things.", registry=registry).inc()
    async with http(registry) as client:
        plain = await client.get("/metrics")
        modern = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert plain.headers["content-type"].startswith("text/plain")
    assert "sds_things_total 1.0" in plain.text
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    assert modern.text.endswith("# EOF\n")


async def test_other_methods_are_refused() -> None:
    async with http() as client:
        assert (await client.post("/live")).status_code == 405


async def test_what_is_degraded_shows_and_turns_nobody_away() -> None:
    def client(**degraded: Check) -> httpx.AsyncClient:
        routes = ops_routes(live={"loop": well}, ready={"store": well}, degraded=degraded, registry=CollectorRegistry())
        return httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=routes)), base_url="http://sds")

    async with client(key_manager=ill) as asked:
        ready, live = await asked.get("/ready"), await asked.get("/live")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["checks"]["key_manager"] == {"ok": False, "reason": "no connection to the server since 10:00"}
    assert live.json() == {"status": "ok", "checks": {"loop": {"ok": True, "reason": ""}}}
    async with client(key_manager=well) as asked:
        assert (await asked.get("/ready")).json()["status"] == "ok"

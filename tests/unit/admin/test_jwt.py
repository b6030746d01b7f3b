"""Minting and validating tokens over a real Unix socket."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from sds.admin.services import AdminCall, MintOrder, local_caller
from tests.fakes.admin_server import Running
from tests.fakes.clock import EPOCH

WEB = "spiffe://example.org/web"


def order(**changes: Any) -> dict[str, Any]:
    whole = {"spiffe_id": WEB, "audience": ["reports"], **changes}
    return {name: value for name, value in whole.items() if value is not ...}


async def test_a_minted_token_verifies(http: httpx.AsyncClient, running: Running) -> None:
    answer = await http.post("/v1/jwt:mint", json=order(ttl_seconds=60))
    assert answer.status_code == 201, answer.text
    minted = answer.json()
    assert list(minted) == ["token", "token_id", "spiffe_id", "audience", "issued_at", "expires_at", "authority_id"]
    assert (minted["spiffe_id"], minted["audience"]) == (WEB, ["reports"])
    assert (minted["issued_at"], minted["expires_at"]) == ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z")
    assert answer.headers["cache-control"] == "no-store"
    verified = (await http.post("/v1/jwt:verify", json={"token": minted["token"], "audience": "reports"})).json()
    assert (verified["spiffe_id"], verified["audience"]) == (WEB, ["reports"])
    assert (verified["key_id"], verified["claims"]["jti"]) == (minted["authority_id"], minted["token_id"])
    assert verified["claims"]["exp"] == int(EPOCH.timestamp()) + 60
    assert running.fakes.audit.rows[-1].event.action == "token.issue"


async def test_what_is_asked_arrives(http: httpx.AsyncClient, running: Running) -> None:
    await http.post("/v1/jwt:mint", json=order(spiffe_id=..., entry_id="e1", audience=["b", "a"], ttl_seconds="5m"))
    (asked,) = running.fakes.jwt.orders
    assert isinstance(asked, MintOrder)
    assert (asked.entry_id, asked.spiffe_id, asked.audience) == ("e1", None, ("b", "a"))
    assert asked.ttl is not None
    assert asked.ttl.total_seconds() == 300


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (order(spiffe_id=...), "spiffe_id"),
        (order(entry_id="e1"), "spiffe_id"),
        (order(spiffe_id="web"), "spiffe_id"),
        (order(audience=...), "audience"),
        (order(audience="reports"), "audience"),
        (order(audience=[7]), "audience[0]"),
        (order(audience=["a"] * 65), "audience"),
        (order(audience=["a" * 5000]), "audience[0]"),
        (order(ttl_seconds="soon"), "ttl_seconds"),
        (order(ttl_seconds="2h"), "ttl_seconds"),
        (order(claims={"admin": True}), "claims"),
    ],
)
async def test_what_cannot_be_minted(http: httpx.AsyncClient, running: Running, body: Any, field: str) -> None:
    answer = await http.post("/v1/jwt:mint", json=body)
    assert answer.status_code == 422, answer.text
    assert [each["field"] for each in answer.json()["problems"]] == [field]
    event = running.fakes.audit.rows[-1].event
    assert (event.action, event.outcome.value) == ("token.issue", "refused")


async def test_of_an_entry_that_is_not_there(http: httpx.AsyncClient) -> None:
    for entry_id in ("e1", "../x", "a b"):
        answer = await http.post("/v1/jwt:mint", json=order(spiffe_id=..., entry_id=entry_id))
        assert answer.status_code == 404


async def test_a_token_that_is_not_believed(http: httpx.AsyncClient, running: Running) -> None:
    minted = (await http.post("/v1/jwt:mint", json=order())).json()
    for body in (
        {"token": minted["token"], "audience": "other"},
        {"token": minted["token"][:-4] + "AAAA", "audience": "reports"},
        {"token": "CANARY.CANARY.CANARY", "audience": "reports"},
        {"token": "", "audience": "reports"},
        {"token": minted["token"], "audience": ""},
    ):
        answer = await http.post("/v1/jwt:verify", json=body)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:sds:problem:invalid-token")
        assert "CANARY" not in answer.text
        assert minted["token"] not in answer.text
    assert minted["token"] not in repr(running.fakes.audit.rows)


async def test_too_long_a_token_is_not_even_read(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/jwt:verify", json={"token": "x" * 70_000, "audience": "reports"})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:sds:problem:invalid")


async def test_a_token_is_in_no_repr(running: Running) -> None:
    call = AdminCall(local_caller(0, 1, "root"), "r")
    order = MintOrder(("reports",), spiffe_id=running.fakes.jwt.authority.authority.trust_domain.id)
    assert "eyJ" not in repr((call, order))

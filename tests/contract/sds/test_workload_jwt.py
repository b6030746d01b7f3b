"""The JWT-SVID profile of the SPIFFE Workload API over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from attestation.errors import AttestationRefused
from attestation.spiffe_id import TrustDomain
from sds._pb.spiffe.workload import workload_pb2
from sds.delivery.errors import LimitExceeded, NotGranted, NotReady
from sds.delivery.service import DeliverySettings
from sds.delivery.view import EMPTY, DomainBundle, Trust, View
from tests.contract.sds.conftest import Running, serve
from tests.fakes.ca import make_authority
from tests.fakes.jwt import forge, jwt_bundle, make_jwt_authority
from tests.fakes.workload_api import AUTHORITY, HEADER, domain_bundle, holder, identity, view
from tests.unit.agent.entries import entry

INVALID = grpc.StatusCode.INVALID_ARGUMENT
DENIED = grpc.StatusCode.PERMISSION_DENIED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
OWN = "spiffe://example.org"
WEB, DB = entry("web", hint="main"), entry("db", hint="main")
UNARY = {"FetchJWTSVID": workload_pb2.JWTSVIDResponse, "ValidateJWTSVID": workload_pb2.ValidateJWTSVIDResponse}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with serve(tmp_path / "sds.sock") as started:
        started.caller.change(view())
        started.caller.promised = True
        started.caller.entries = (WEB, DB)
        yield started


async def call(running: Running, method: str, raw: bytes, metadata: Any = HEADER) -> Any:
    unary = running.channel().unary_unary(
        f"/SpiffeWorkloadAPI/{method}", response_deserializer=UNARY[method].FromString
    )
    return await unary(raw, metadata=metadata, timeout=10)


async def fetch(running: Running, *audience: str, spiffe_id: str = "") -> list[Any]:
    request = workload_pb2.JWTSVIDRequest(audience=audience, spiffe_id=spiffe_id)
    return list((await call(running, "FetchJWTSVID", request.SerializeToString())).svids)


async def validated(running: Running, token: str, audience: str = "reports") -> Any:
    request = workload_pb2.ValidateJWTSVIDRequest(svid=token, audience=audience)
    return await call(running, "ValidateJWTSVID", request.SerializeToString())


async def refusal(work: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await work
    return ended.value.code(), ended.value.details() or ""


# FetchJWTSVID (Workload API 6.2.1)


async def test_a_token_for_every_identity_the_default_first_and_hints_once(running: Running) -> None:
    found = await fetch(running, "reports")
    assert [(svid.spiffe_id, svid.hint) for svid in found] == [(f"{OWN}/web", "main"), (f"{OWN}/db", "")]
    for svid in found:
        assert (await validated(running, svid.svid)).spiffe_id == svid.spiffe_id


async def test_only_the_one_that_is_asked_for(running: Running) -> None:
    (only,) = await fetch(running, "reports", spiffe_id=f"{OWN}/db")
    assert (only.spiffe_id, only.hint) == (f"{OWN}/db", "main")
    assert running.tokens.asked == [(["db"], ("reports",))]


async def test_two_entries_with_one_id_are_one_identity(running: Running) -> None:
    running.caller.entries = (WEB, replace(WEB, id="again"), DB)
    assert [svid.spiffe_id for svid in await fetch(running, "reports")] == [f"{OWN}/web", f"{OWN}/db"]
    assert running.tokens.asked == [(["web", "db"], ("reports",))]


async def test_an_audience_is_a_set(running: Running) -> None:
    await fetch(running, "b", "a", "b")
    assert running.tokens.asked[0][1] == ("a", "b")


async def test_an_entry_is_enough_its_certificate_may_be_missing(running: Running) -> None:
    running.caller.change(EMPTY)
    assert len(await fetch(running, "reports")) == 2


@pytest.mark.parametrize("audience", [(), ("",), ("a\n",), ("a",) * 17, ("a" * 5000,)])
async def test_a_sound_audience_is_mandatory(running: Running, audience: tuple[str, ...]) -> None:
    """Workload API 4.5."""
    assert (await refusal(fetch(running, *audience)))[0] is INVALID
    assert running.tokens.asked == []


async def test_an_id_that_is_none_is_invalid_and_a_foreign_one_denied(running: Running) -> None:
    assert (await refusal(fetch(running, "a", spiffe_id="web")))[0] is INVALID
    code, text = await refusal(fetch(running, "a", spiffe_id=f"{OWN}/secret"))
    assert (code, "secret" in text) == (DENIED, False)
    assert running.tokens.asked == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotReady("later"), UNAVAILABLE),
        (NotGranted("revoked"), DENIED),
        (LimitExceeded("too many"), UNAVAILABLE),
        (ValueError("canary"), grpc.StatusCode.INTERNAL),
    ],
)
async def test_how_it_fails(running: Running, error: Exception, code: grpc.StatusCode) -> None:
    running.tokens.refusal = error
    found, text = await refusal(fetch(running, "a"))
    assert found is code
    assert "canary" not in text
    assert running.observer.of("rejected") or running.observer.of("crashed")


# Who may ask (Workload Endpoint 3 and 6)


@pytest.mark.parametrize("method", [*UNARY, "FetchJWTBundles"])
@pytest.mark.parametrize("metadata", [(), (("workload.spiffe.io", "TRUE"),), HEADER * 2])
async def test_without_the_security_header_nothing_is_looked_at(running: Running, method: str, metadata: Any) -> None:
    if method in UNARY:
        ended = await refusal(call(running, method, b"\xff", metadata))
    else:
        ended = await refusal(first_bundles(running, metadata))
    assert ended[0] is INVALID
    assert "security header" in ended[1]
    assert running.callers.peers == []


@pytest.mark.parametrize("method", UNARY)
async def test_a_caller_without_an_identity_is_denied(running: Running, method: str) -> None:
    good = (await fetch(running, "a"))[0].svid
    running.caller.entries, running.caller.promised = (), False
    running.caller.change(EMPTY)
    asked = fetch(running, "a") if method == "FetchJWTSVID" else validated(running, good, "a")
    assert (await refusal(asked))[0] is DENIED


@pytest.mark.parametrize("method", UNARY)
async def test_a_caller_that_is_gone_or_cannot_be_attested_is_denied(running: Running, method: str) -> None:
    def ask() -> Any:
        return fetch(running, "a") if method == "FetchJWTSVID" else validated(running, "a.b.c")

    running.callers.refusal = AttestationRefused("who are you")
    assert (await refusal(ask()))[0] is DENIED
    running.callers.refusal = None
    running.caller.leave("the process is gone")
    assert await refusal(ask()) == (DENIED, "the process is gone")


@pytest.mark.parametrize("method", UNARY)
async def test_while_the_agent_knows_nothing_or_stops_they_may_come_back(running: Running, method: str) -> None:
    def ask() -> Any:
        return fetch(running, "a") if method == "FetchJWTSVID" else validated(running, "a.b.c")

    running.callers.ready = False
    assert (await refusal(ask()))[0] is UNAVAILABLE
    running.callers.ready = True
    running.workload_api.close()
    assert (await refusal(ask()))[0] is UNAVAILABLE


@pytest.mark.parametrize("method", UNARY)
async def test_what_cannot_be_parsed_is_refused_without_an_echo(running: Running, method: str) -> None:
    code, text = await refusal(call(running, method, b"\xff\xffcanary"))
    assert (code, "canary" in text) == (INVALID, False)


async def test_calls_count_among_the_streams(tmp_path: Path) -> None:
    async with serve(tmp_path / "sds.sock", DeliverySettings(streams=1)) as running:
        running.caller.entries = (WEB,)
        running.caller.change(view())
        stream = running.channel().unary_stream("/SpiffeWorkloadAPI/FetchX509SVID")(b"", metadata=HEADER)
        await stream.read()
        assert (await refusal(fetch(running, "a")))[0] is UNAVAILABLE
        stream.cancel()
        await running.settled()
        assert len(await fetch(running, "a")) == 1


# ValidateJWTSVID (Workload API 6.2.3)


async def test_all_claims_are_told(running: Running) -> None:
    now = running.tokens.authority.authority.not_before
    exp = int(now.timestamp()) + 90_000
    extra = {"roles": ["a", "b"], "deep": {"n": 1.5, "none": None, "yes": True}, "text": "\u00e9"}
    answer = await validated(running, forge(running.tokens.authority, exp=exp, **extra))
    claims = dict(answer.claims.items())
    assert (answer.spiffe_id, claims["sub"], claims["exp"]) == (f"{OWN}/web", f"{OWN}/web", exp)
    assert list(claims["roles"]) == ["a", "b"]
    assert dict(claims["deep"]) == {"n": 1.5, "none": None, "yes": True}
    assert claims["text"] == "\u00e9"


async def test_what_is_not_to_be_believed_is_invalid(running: Running) -> None:
    good = (await fetch(running, "reports"))[0].svid
    for token, audience in (
        (good, "other"),
        (good[:-6] + "AAAAAA", "reports"),
        ("x", "reports"),
        ("", "a"),
        (good, ""),
    ):
        code, text = await refusal(validated(running, token, audience))
        assert code is INVALID
        assert "eyJ" not in text
    stranger = make_jwt_authority(now=running.tokens.authority.authority.not_before)
    assert (await refusal(validated(running, forge(stranger))))[0] is INVALID


async def test_it_waits_for_a_bundle(running: Running) -> None:
    running.tokens.refusal = NotReady("there is no trust bundle yet")
    assert (await refusal(validated(running, "a.b.c")))[0] is UNAVAILABLE


# FetchJWTBundles (Workload API 6.2.2)


def bundles_call(running: Running, metadata: Any = HEADER) -> Any:
    stream = running.channel().unary_stream(
        "/SpiffeWorkloadAPI/FetchJWTBundles", response_deserializer=workload_pb2.JWTBundlesResponse.FromString
    )
    return stream(b"", metadata=metadata)


async def first_bundles(running: Running, metadata: Any = HEADER) -> dict[str, Any]:
    return await next_bundles(bundles_call(running, metadata))


async def next_bundles(stream: Any) -> dict[str, Any]:
    async with asyncio.timeout(10):
        message = await stream.read()
    assert message is not grpc.aio.EOF
    return {name: json.loads(jwks) for name, jwks in message.bundles.items()}


KEY, NEXT = make_jwt_authority(), make_jwt_authority()
FOREIGN = TrustDomain("example.com")


def with_keys(*authorities: Any, federated: Any = (), more_x509: Any = ()) -> View:
    own = replace(domain_bundle(AUTHORITY, *more_x509), jwks=jwt_bundle(*authorities).jwks() if authorities else b"")
    return View.build([identity(holder())], Trust.build(own, federated))


async def test_bundles_are_plain_jwk_sets_by_trust_domain(running: Running) -> None:
    jwks = jwt_bundle(make_jwt_authority(FOREIGN)).jwks()
    x509 = domain_bundle(make_authority(FOREIGN)).pem
    nothing = DomainBundle(TrustDomain("no-tokens.example"), domain_bundle(make_authority(FOREIGN)).pem)
    running.caller.change(with_keys(KEY, federated=[DomainBundle(FOREIGN, x509, jwks=jwks), nothing]))
    found = await first_bundles(running)
    assert set(found) == {OWN, "spiffe://example.com"}, "a domain without JWT keys has no bundle here"
    (key,) = found[OWN]["keys"]
    assert (key["kid"], key["kty"], key["use"]) == (KEY.authority.id, "EC", "sig")


async def test_our_own_is_always_among_them(running: Running) -> None:
    """It must be, says the standard; without keys it says that no token is to be believed."""
    running.caller.change(with_keys())
    assert await first_bundles(running) == {OWN: {"keys": []}}


async def test_a_change_of_keys_is_pushed_and_nothing_twice(running: Running) -> None:
    running.caller.change(with_keys(KEY))
    stream = bundles_call(running)
    assert len((await next_bundles(stream))[OWN]["keys"]) == 1
    running.caller.change(with_keys(KEY))  # another view of the same content
    running.caller.change(with_keys(KEY, more_x509=[make_authority()]))  # what is news for X.509 alone
    running.caller.wake()
    reading = asyncio.ensure_future(next_bundles(stream))
    done, _ = await asyncio.wait({reading}, timeout=0.2)
    assert not done
    running.caller.change(with_keys(KEY, NEXT))
    assert len((await reading)[OWN]["keys"]) == 2
    (state,) = running.registry.snapshot()
    assert (state.protocol, [resource.name for resource in state.resources]) == ("workload-api", [OWN])
    stream.cancel()


async def test_who_loses_its_identity_loses_the_bundles(running: Running) -> None:
    running.caller.change(with_keys(KEY))
    stream = bundles_call(running)
    await next_bundles(stream)
    running.caller.promised = False
    running.caller.change(EMPTY)
    assert (await refusal(next_bundles(stream)))[0] is DENIED
    assert (await refusal(first_bundles(running)))[0] is DENIED

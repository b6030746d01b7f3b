"""The SPIFFE Workload API over a real socket: what clients are told, when, and how calls end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key
from cryptography.x509 import load_der_x509_certificate

from attestation.errors import AttestationRefused
from sds.delivery.service import DeliverySettings
from sds.delivery.view import EMPTY
from tests.contract.sds.conftest import Running, serve
from tests.fakes.ca import make_authority
from tests.fakes.sds_clients import EnvoySotw
from tests.fakes.workload_api import AUTHORITY, BUNDLES, HEADER, SVIDS, Stream, holder, view

BOTH = pytest.mark.parametrize("method", [SVIDS, BUNDLES])
DENIED = grpc.StatusCode.PERMISSION_DENIED
OWN = "spiffe://example.org"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with serve(tmp_path / "sds.sock") as started:
        started.caller.change(view())
        yield started


# What there is


async def test_an_identity_is_served_as_der(running: Running) -> None:
    web = holder()
    running.caller.change(view(web))
    async with Stream(running.channel()) as stream:
        (svid,) = (await stream.get()).svids
    assert svid.spiffe_id == "spiffe://example.org/web"
    leaf = load_der_x509_certificate(svid.x509_svid)
    assert leaf.public_key() == load_der_private_key(svid.x509_svid_key, None).public_key()
    assert svid.bundle == AUTHORITY.authority.certificate
    leaf.verify_directly_issued_by(load_der_x509_certificate(svid.bundle))


async def test_bundles_are_told_by_trust_domain(running: Running) -> None:
    async with Stream(running.channel(), BUNDLES) as stream:
        assert dict((await stream.get()).bundles) == {OWN: AUTHORITY.authority.certificate}


async def test_a_rotation_a_bundle_and_an_entry_are_pushed_and_nothing_twice(running: Running) -> None:
    web, second = holder(), make_authority()
    running.caller.change(view(web))
    async with Stream(running.channel()) as svids, Stream(running.channel(), BUNDLES) as bundles:
        messages, seen = [await svids.get()], [await bundles.get()]
        running.caller.change(view(web))  # another view of the same content
        running.caller.wake()
        await svids.silent()
        await bundles.silent()
        rotated = holder()
        running.caller.change(view(rotated))
        messages.append(await svids.awaited())
        running.caller.change(view(rotated, more=[second]))
        messages.append(await svids.get())
        seen.append(await bundles.awaited())
        running.caller.change(view(rotated, holder("/db"), more=[second]))
        messages.append(await svids.get())
        await bundles.silent()
    both = AUTHORITY.authority.certificate + second.authority.certificate
    assert [len(m.svids) for m in messages] == [1, 1, 1, 2]
    assert messages[0].svids[0].x509_svid != messages[1].svids[0].x509_svid
    assert messages[2].svids[0].bundle == both and dict(seen[1].bundles) == {OWN: both}
    assert [s.spiffe_id for s in messages[3].svids] == [f"{OWN}/web", f"{OWN}/db"]
    assert all(a != b for a, b in pairwise(messages))


async def test_a_changed_hint_is_news(running: Running) -> None:
    web = holder()
    running.caller.change(view(web, hints=["internal"]))
    async with Stream(running.channel()) as stream:
        assert (await stream.get()).svids[0].hint == "internal"
        running.caller.change(view(web, hints=["external"]))
        assert (await stream.get()).svids[0].hint == "external"


async def test_changes_at_once_are_one_message(running: Running) -> None:
    async with Stream(running.channel()) as stream:
        await stream.get()
        last = holder()
        for _ in range(20):
            running.caller.change(view(holder()))
        running.caller.change(view(last))
        message = await stream.get()
        assert message.svids[0].x509_svid == last.svid.chain[0], "one step, not twenty-one"


async def test_a_client_that_does_not_read_is_sent_the_newest_and_little_in_between(running: Running) -> None:
    large = [AUTHORITY] * 1500  # more than the socket and HTTP/2 take in
    changes = 30
    async with Stream(running.channel()) as slow, Stream(running.channel()) as quick:
        await slow.get()
        await quick.get()
        for _ in range(changes):
            newest = holder()
            running.caller.change(view(newest, more=large))
            while (await quick.get()).svids[0].x509_svid != newest.svid.chain[0]:
                pass
        read = 1
        while (await slow.get()).svids[0].x509_svid != newest.svid.chain[0]:
            read += 1
        assert read < changes, "what it did not read was not kept for it"
        await slow.silent()


async def test_streams_share_one_encoding(running: Running) -> None:
    channel = running.channel()
    streams = [Stream(channel) for _ in range(20)]
    for stream in streams:
        await stream.get()
    assert len(running.workload_api.encodings) == 1
    running.caller.change(view(holder()))
    for stream in streams:
        await stream.get()
    assert len(running.workload_api.encodings) == 1, "the former view's bytes, and the key in them, are gone"
    for stream in streams:
        stream.call.cancel()


# Who may not


@BOTH
@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("workload.spiffe.io", "True"),),
        (("workload.spiffe.io", "false"),),
        (*HEADER, *HEADER),
        (("workload", "true"),),
    ],
)
async def test_without_the_security_header_nothing_is_looked_at(
    running: Running, method: str, metadata: tuple[tuple[str, str], ...]
) -> None:
    code, text = await Stream(running.channel(), method, metadata).ending()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "workload.spiffe.io: true" in text
    assert running.callers.peers == [], "the caller was not even attested"


async def test_thousands_of_calls_without_the_header_leave_nothing(running: Running) -> None:
    async with Stream(running.channel()) as served:
        await served.get()
        channel = running.channel()

        async def some() -> None:
            for _ in range(60):
                assert (await Stream(channel, metadata=()).ending(60))[0] is grpc.StatusCode.INVALID_ARGUMENT

        await asyncio.gather(*(some() for _ in range(50)))
        assert len(running.registry) == 1
        running.caller.change(view(holder()))
        await served.get()
    assert len(running.observer.of("rejected")) == 3000
    assert not running.observer.of("crashed")


@BOTH
async def test_without_identity_permission_is_denied(running: Running, method: str) -> None:
    running.caller.change(EMPTY)
    assert (await Stream(running.channel(), method).ending())[0] is DENIED
    assert len(running.observer.of("refused")) == 1


@BOTH
async def test_who_is_not_attested_is_denied(running: Running, method: str) -> None:
    running.callers.refusal = AttestationRefused("the caller is gone")
    assert await Stream(running.channel(), method).ending() == (DENIED, "the caller is gone")


@BOTH
async def test_the_last_identity_goes(running: Running, method: str) -> None:
    async with Stream(running.channel(), method) as stream:
        await stream.get()
        running.caller.change(EMPTY)
        assert (await stream.ending())[0] is DENIED
        running.caller.change(view())
        async with Stream(running.channel(), method) as again:
            await again.get()


async def test_one_of_two_identities_goes(running: Running) -> None:
    web, db = holder(), holder("/db")
    running.caller.change(view(web, db))
    async with Stream(running.channel()) as stream:
        assert len((await stream.get()).svids) == 2
        running.caller.change(view(web))
        assert [svid.spiffe_id for svid in (await stream.get()).svids] == [f"{OWN}/web"]
        assert running.observer.of("sent")[-1] == (f"{OWN}/db", "")


@BOTH
async def test_a_banned_caller_is_cut_off(running: Running, method: str) -> None:
    async with Stream(running.channel(), method) as stream:
        await stream.get()
        running.caller.leave("banned")
        assert await stream.ending() == (DENIED, "banned")


# Not now


@BOTH
async def test_an_agent_that_knows_nothing_yet_is_unavailable(running: Running, method: str) -> None:
    running.callers.ready = False
    assert (await Stream(running.channel(), method).ending())[0] is grpc.StatusCode.UNAVAILABLE
    assert running.callers.peers == []


@BOTH
async def test_entitled_but_without_certificate_is_unavailable(running: Running, method: str) -> None:
    running.caller.promised = True
    running.caller.change(EMPTY)
    assert (await Stream(running.channel(), method).ending())[0] is grpc.StatusCode.UNAVAILABLE


async def test_no_other_identity_stands_in_for_the_default(running: Running) -> None:
    web, db = holder(), holder("/db")
    running.caller.change(view(db, has_default=False))
    assert (await Stream(running.channel()).ending())[0] is grpc.StatusCode.UNAVAILABLE
    running.caller.change(view(web, db))
    async with Stream(running.channel()) as stream:
        await stream.get()
        running.caller.change(view(db, has_default=False))
        await stream.silent()
        running.caller.change(view(web))
        assert len((await stream.awaited()).svids) == 1


async def test_a_certificate_on_its_way_ends_no_stream(running: Running) -> None:
    async with Stream(running.channel()) as stream:
        await stream.get()
        running.caller.promised = True
        running.caller.change(EMPTY)
        await stream.silent()
        arrived = holder()
        running.caller.change(view(arrived))
        assert (await stream.awaited()).svids[0].x509_svid == arrived.svid.chain[0]


async def test_too_many_streams_are_unavailable_and_share_their_places_with_sds(tmp_path: Path) -> None:
    async with serve(tmp_path / "tight.sock", DeliverySettings(streams=2)) as running:
        async with EnvoySotw(running.channel(), ("default",)) as envoy:
            await envoy.until_holds("default")
            running.caller.change(view())
            async with Stream(running.channel()) as stream:
                await stream.get()
                assert (await Stream(running.channel()).ending())[0] is grpc.StatusCode.UNAVAILABLE
        await running.settled()
        async with Stream(running.channel()) as stream:
            await stream.get()


@BOTH
async def test_streams_end_as_unavailable_when_the_agent_stops(running: Running, method: str) -> None:
    """CANCELLED would be the end for clients that take it for their own doing."""
    async with Stream(running.channel(), method) as stream:
        await stream.get()
        running.workload_api.close()
        assert (await stream.ending())[0] is grpc.StatusCode.UNAVAILABLE
    assert (await Stream(running.channel(), method).ending())[0] is grpc.StatusCode.UNAVAILABLE


# Calls


@pytest.mark.parametrize("method", ["FetchWITSVID", "FetchWITBundles"])
async def test_the_optional_profile_is_unimplemented_behind_the_same_header(running: Running, method: str) -> None:
    for metadata, code in ((HEADER, grpc.StatusCode.UNIMPLEMENTED), ((), grpc.StatusCode.INVALID_ARGUMENT)):
        call = running.channel().unary_stream(f"/SpiffeWorkloadAPI/{method}")(b"", metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        assert ended.value.code() is code
        assert "supported" in str(ended.value.details()) or code is grpc.StatusCode.INVALID_ARGUMENT


@BOTH
async def test_what_cannot_be_parsed_is_refused_without_an_echo(running: Running, method: str) -> None:
    code, text = await Stream(running.channel(), method, raw=b"\xff\xffcanary").ending()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "Request" in text and "canary" not in text


@BOTH
async def test_clients_that_leave_leave_nothing_behind(running: Running, method: str) -> None:
    channel = running.channel()
    streams = [Stream(channel, method) for _ in range(50)]
    for number, stream in enumerate(streams):
        if number % 2:
            await stream.get()
        stream.call.cancel()
    await running.settled()
    assert running.caller.watchers == 0
    assert {reason for (reason,) in running.observer.of("closed")} <= {""}


async def test_a_deadline_ends_the_stream(running: Running) -> None:
    fetch = running.channel().unary_stream(f"/SpiffeWorkloadAPI/{SVIDS}")
    call = fetch(b"", metadata=HEADER, timeout=0.3)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        async for _ in call:
            pass
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await running.settled()


async def test_reports_say_what_was_sent_and_that_nothing_is_acknowledged(running: Running) -> None:
    web = holder()
    running.caller.change(view(web))
    async with Stream(running.channel()) as stream:
        await stream.get()
        (state,) = running.registry.snapshot()
        assert state.protocol == "workload-api"
        certificate, bundle = state.resources
        assert (certificate.name, certificate.sent_serial) == (f"{OWN}/web", web.svid.serial)
        assert bundle.name == OWN
        assert certificate.sent_version and bundle.sent_version and certificate.sent_at
        assert not certificate.acked_version
    assert [name for name, _ in running.observer.of("sent")] == [f"{OWN}/web", OWN]

"""Each kind of sink against a receiver of its kind: what arrives, and what is said of one that does not take it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from ca.masked import Masked
from sds.audit.canonical import canonical_bytes
from sds.audit.sinks.items import Item, Leaf, Signed, line
from sds.audit.sinks.syslog import SyslogFormat
from sds.clock import SystemClock
from sds.server.audit_sinks.blocking import Threaded
from sds.server.audit_sinks.file import FileWriter
from sds.server.audit_sinks.http import HttpOutlet, HttpPlace, Otlp, Webhook
from sds.server.audit_sinks.outlet import SinkFailed, TooLarge
from sds.server.audit_sinks.stdout import StdoutWriter
from sds.server.audit_sinks.syslog import SyslogPlace, SyslogWriter
from sds.server.secrets.hook import sign
from tests.contract.store.samples import event
from tests.fakes import pki
from tests.fakes.clock import FakeClock
from tests.fakes.receivers import http_receiver, syslog_receiver
from tests.fakes.small_disk import MountRefused, small_disk
from tests.fakes.wait import until

CLOCK = SystemClock()


def leaves(count: int, first: int = 0, size: int = 10) -> list[Item]:
    made = canonical_bytes(event(id="0" * 32, details={"text": "x" * size}))
    return [Leaf(first + number, first + number + 1, made) for number in range(count)]


def lines(items: list[Item]) -> bytes:
    return b"".join(line(item) + b"\n" for item in items)


# A file


async def test_a_file_has_every_line_and_belongs_to_the_server_alone(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    out = Threaded("s", FileWriter(path), 5)
    items = [*leaves(3), Signed(3, "n\n")]
    await out.deliver(items)
    assert path.read_bytes() == lines(items)
    assert path.stat().st_mode & 0o777 == 0o600
    await out.close()


async def test_a_file_that_was_renamed_or_deleted_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    out = Threaded("s", FileWriter(path), 5)
    await out.deliver(leaves(1))
    path.rename(tmp_path / "audit.jsonl.1")
    await out.deliver(leaves(1, 1))
    path.unlink()
    await out.deliver(leaves(1, 2))
    assert (tmp_path / "audit.jsonl.1").read_bytes() == lines(leaves(1))
    assert path.read_bytes() == lines(leaves(1, 2))
    await out.close()


async def test_a_line_that_a_killed_process_left_unfinished_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"event":{"act')
    out = Threaded("s", FileWriter(path), 5)
    await out.deliver(leaves(2))
    assert path.read_bytes() == b'{"event":{"act\n' + lines(leaves(2))
    await out.close()


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
async def test_what_is_no_file_of_ours_is_not_written_to(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "audit.jsonl"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    out = Threaded("s", FileWriter(path), 5)
    with pytest.raises(SinkFailed, match=r"audit\.jsonl"):
        await out.deliver(leaves(1))
    assert not (tmp_path / "elsewhere").exists()
    await out.close()


async def test_a_full_disk_is_a_problem_and_half_a_batch_never_stays() -> None:
    try:
        with small_disk("1m") as disk:
            path = disk.folder / "audit.jsonl"
            out = Threaded("s", FileWriter(path), 5)
            await out.deliver(leaves(2))
            disk.fill()
            with pytest.raises(SinkFailed, match="No space left on device"):
                await out.deliver(leaves(300, 2, size=1000))
            assert path.read_bytes() == lines(leaves(2))
            disk.relieve()
            await out.deliver(leaves(300, 2, size=1000))
            assert path.read_bytes() == lines([*leaves(2), *leaves(300, 2, size=1000)])
            await out.close()
    except MountRefused as refused:
        pytest.skip(f"kernel: {refused}")


# Standard output


async def test_a_pipe_that_nobody_reads_stalls_the_sink_alone_and_no_line_is_broken() -> None:
    reading, writing = os.pipe()
    out = Threaded("s", StdoutWriter(CLOCK.monotonic, writing), 0.3)
    items = leaves(200, size=1000)
    with pytest.raises(SinkFailed, match="nobody reads"):
        await out.deliver(items)
    assert os.get_blocking(writing), "others write to the same pipe, and expect it to wait for them"
    found = bytearray()

    async def read() -> None:
        while part := await asyncio.to_thread(os.read, reading, 65536):
            found.extend(part)

    reader = asyncio.create_task(read())
    await out.deliver(items)
    await out.close()
    os.close(writing)
    await reader
    os.close(reading)
    told = [json.loads(each)["leaf"] for each in bytes(found).splitlines()]
    cut = told.index(0, 1)  # where the batch begins again
    assert told[:cut] == list(range(cut))
    assert told[cut:] == list(range(200))


async def test_standard_output_may_be_a_file_or_a_socket(tmp_path: Path) -> None:
    with (tmp_path / "out").open("ab", buffering=0) as file:
        file.write(b"before\n")
        out = Threaded("s", StdoutWriter(CLOCK.monotonic, file.fileno()), 5)
        await out.deliver(leaves(2))
        await out.close()
    assert (tmp_path / "out").read_bytes() == b"before\n" + lines(leaves(2))
    ours, theirs = socket.socketpair()
    out = Threaded("s", StdoutWriter(CLOCK.monotonic, ours.fileno()), 5)
    await out.deliver(leaves(2))
    assert theirs.recv(65536) == lines(leaves(2))
    theirs.close()
    with pytest.raises(SinkFailed, match="cannot be written"):
        await out.deliver(leaves(2))
    await out.close()
    ours.close()


# Syslog


def syslog(place: SyslogPlace, seconds: float = 10.0) -> Threaded:
    form = SyslogFormat("audit", 32473, 8192, "host")
    return Threaded("s", SyslogWriter(place, form, CLOCK.now, CLOCK.monotonic), seconds)


@pytest.mark.parametrize("transport", ["unix", "udp", "tcp"])
async def test_syslog_arrives(tmp_path: Path, transport: str) -> None:
    path = tmp_path / "log"
    with syslog_receiver(transport, str(path)) as receiver:
        out = syslog(SyslogPlace(transport, path, "127.0.0.1", receiver.port))
        items = [*leaves(20), Signed(20, "n\n")]
        await out.deliver(items)
        await until(lambda: len(receiver.messages) == 21)
        assert receiver.leaves() == list(range(20))
        assert [message.text for message in receiver.messages] == [line(item) for item in items]
        assert receiver.messages[-1].id == "audit.checkpoint"
        await out.close()


async def test_syslog_over_tls_goes_to_the_named_receiver_alone(tmp_path: Path, clock: FakeClock) -> None:
    now = CLOCK.now()
    root = pki.make("root", before=now - pki.YEAR, after=now + pki.YEAR)
    names = [x509.DNSName("siem.example.org"), x509.IPAddress(ip_address("127.0.0.1"))]
    leaf = pki.make("siem", root, ca=False, before=now - pki.YEAR, after=now + pki.YEAR, sans=names)
    (tmp_path / "chain.pem").write_bytes(leaf.pem)
    (tmp_path / "key.pem").write_bytes(leaf.key_pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    client = ssl.create_default_context(cadata=root.pem.decode())
    with syslog_receiver("tls", tls=server) as receiver:
        for name in ("siem.example.org", "127.0.0.1"):
            out = syslog(SyslogPlace("tls", None, "127.0.0.1", receiver.port, client, name))
            await out.deliver(leaves(20))
            await out.deliver(leaves(20, 20))
            await out.close()
        await until(lambda: len(receiver.leaves()) == 80)
        out = syslog(SyslogPlace("tls", None, "127.0.0.1", receiver.port, client, "other.example.org"))
        with pytest.raises(SinkFailed, match="certificate does not verify"):
            await out.deliver(leaves(1))
        await out.close()


async def test_a_receiver_that_never_reads_blocks_its_sink_and_is_told_again_when_it_reads() -> None:
    with syslog_receiver("tcp") as receiver:
        receiver.reading.clear()
        out = syslog(SyslogPlace("tcp", None, "127.0.0.1", receiver.port), 0.5)
        delivered = 0
        with pytest.raises(SinkFailed, match="took nothing in time"):
            while delivered < 100:  # until all buffers are full
                await out.deliver(leaves(1000, delivered * 1000, size=4000))
                delivered += 1
        receiver.reading.set()
        again = syslog(SyslogPlace("tcp", None, "127.0.0.1", receiver.port), 30)
        await again.deliver(leaves(1000, delivered * 1000, size=4000))
        wanted = set(range((delivered + 1) * 1000))
        await until(lambda: set(receiver.leaves()) == wanted)
        await out.close()
        await again.close()


async def test_a_receiver_that_hangs_up_or_is_away_is_found_out() -> None:
    with syslog_receiver("tcp") as receiver:
        out = syslog(SyslogPlace("tcp", None, "127.0.0.1", receiver.port))
        await out.deliver(leaves(1))
        await until(lambda: receiver.leaves() == [0])
        receiver.hang_up()
        await out.deliver(leaves(1, 1))  # over a new connection
        await until(lambda: receiver.leaves() == [0, 1])
        port = receiver.port
    with pytest.raises(SinkFailed, match="Connection refused"):
        await out.deliver(leaves(1, 2))
    with syslog_receiver("tcp", port=port) as receiver:
        await out.deliver(leaves(1, 2))
        await until(lambda: receiver.leaves() == [2])
    await out.close()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (SyslogPlace("unix", Path("/nonexistent/log")), "No such file"),
        (SyslogPlace("tcp", None, "no-such-host.invalid", 514), "cannot be resolved"),
        (SyslogPlace("udp", None, "no-such-host.invalid", 514), "cannot be resolved"),
    ],
)
async def test_why_a_receiver_cannot_be_reached_is_said(place: SyslogPlace, words: str) -> None:
    out = syslog(place)
    with pytest.raises(SinkFailed, match=words):
        await out.deliver(leaves(1))
    await out.close()


# HTTP


def hook(url: str, seconds: float = 10.0) -> HttpOutlet:
    return HttpOutlet(HttpPlace(url, seconds), Webhook("siem", Masked(b"k" * 32), CLOCK.now))


async def test_a_webhook_is_signed_as_calls_to_the_server_are() -> None:
    async with http_receiver() as receiver:
        out = hook(receiver.url)
        items = [*leaves(3), Signed(3, "n\n")]
        await out.deliver(items)
        await out.deliver(leaves(1, 3))
        await out.close()
    (headers, body), _ = receiver.requests
    assert json.loads(body) == {"sink": "siem", "items": [json.loads(line(item)) for item in items]}
    assert headers["x-sds-signature"] == sign(Masked(b"k" * 32), headers["x-sds-time"], body)
    assert abs(int(headers["x-sds-time"]) - CLOCK.now().timestamp()) < 600
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [500, 503, 429, 404, 301])
async def test_whatever_a_webhook_answers_but_yes_is_a_failure(status: int) -> None:
    async with http_receiver() as receiver:
        receiver.status = status
        out = hook(receiver.url)
        with pytest.raises(SinkFailed, match=str(status)):
            await out.deliver(leaves(1))
        receiver.status = 200
        await out.deliver(leaves(1))
        await out.close()


async def test_a_webhook_that_hangs_or_is_away_or_too_small() -> None:
    async with http_receiver() as receiver:
        receiver.status = 0
        out = hook(receiver.url, 0.3)
        with pytest.raises(SinkFailed, match="has not answered"):
            await out.deliver(leaves(1))
        receiver.status, receiver.most = 200, 1000
        with pytest.raises(TooLarge):
            await out.deliver(leaves(100))
        receiver.answer = b"x" * 100_000
        with pytest.raises(SinkFailed, match="more than"):
            await out.deliver(leaves(1))
    with pytest.raises(SinkFailed, match="cannot be reached: Connection refused"):
        await out.deliver(leaves(1))
    await out.close()


async def test_otlp_is_what_opentelemetry_reads() -> None:
    async with http_receiver() as receiver:
        place = HttpPlace(receiver.url, 10.0, bearer=Masked(b"token"))
        out = HttpOutlet(place, Otlp("s", "host", CLOCK.now))
        await out.deliver([*leaves(3), Signed(3, "n\n")])
        (headers, body) = receiver.requests[0]
        assert headers["content-type"] == "application/x-protobuf"
        assert headers["authorization"] == "Bearer token"
        assert "token" not in repr(place)
        request = ExportLogsServiceRequest.FromString(body)
        records = request.resource_logs[0].scope_logs[0].log_records
        assert [record.event_name for record in records] == ["test.change"] * 3 + ["audit.checkpoint"]
        partial = ExportLogsPartialSuccess(rejected_log_records=1, error_message="no")
        receiver.answer = ExportLogsServiceResponse(partial_success=partial).SerializeToString()
        await out.deliver(leaves(1))  # must not be sent again
        receiver.answer = b"<html>"
        with pytest.raises(SinkFailed, match="not of OTLP"):
            await out.deliver(leaves(1))
        await out.close()


async def test_a_thread_that_does_not_come_back_is_not_waited_for() -> None:
    class Dead:
        def __init__(self) -> None:
            self.wait: Callable[[], None] = lambda: None

        def write(self, items, seconds: float) -> None:
            self.wait()

        def close(self) -> None:
            return

    reading, writing = os.pipe()
    writer = Dead()
    out = Threaded("s", writer, 0.1)
    await out.deliver([])
    writer.wait = lambda: os.read(reading, 1)
    with pytest.raises(SinkFailed, match="within"):
        await out.deliver([])
    with pytest.raises(SinkFailed, match="has not come back"):
        await out.deliver([])
    os.write(writing, b"x")
    writer.wait = lambda: None
    await until(lambda: not out._thread.busy)
    await out.deliver([])
    await out.close()
    os.close(reading)
    os.close(writing)

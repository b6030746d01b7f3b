"""Syslog against a receiver of each transport: what arrives, and what is said of one that does not take it."""

from __future__ import annotations

import ssl
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from sds.audit.sinks.items import Signed, line
from sds.audit.sinks.syslog import SyslogFormat
from sds.server.audit_sinks.blocking import Threaded
from sds.server.audit_sinks.outlet import SinkFailed
from sds.server.audit_sinks.syslog import SyslogPlace, SyslogWriter
from tests.contract.audit_sinks.items import CLOCK, leaves
from tests.fakes import pki
from tests.fakes.clock import FakeClock
from tests.fakes.receivers import syslog_receiver
from tests.fakes.wait import until


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

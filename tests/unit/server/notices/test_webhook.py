"""The webhook: signed, bounded in time, never redirected, and only over TLS that is verified."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ca.masked import Masked
from sds.notices.message import compose
from sds.notices.notice import WEBHOOK, Kind, Notice
from sds.notices.plan import Mode
from sds.server.notices.outgoing import Outgoing, SendFailed
from sds.server.notices.webhook import Webhook, WebhookOptions
from tests.contract.public.pki import WebPki
from tests.fakes.http_server import answer, replying

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEY = b"k" * 32
ONE = Notice("n1", Kind.TOKEN, "t1", WEBHOOK, "the token \u2603 ends", "", 0, False, NOW, NOW, NOW)
MESSAGE = Outgoing("id1", WEBHOOK, Mode.DIGEST, NOW, (ONE,), compose((ONE,), Mode.DIGEST, NOW, "example.org", "host"))


def webhook(port: str, scheme: str = "http", ca_file: Path | None = None, timeout: float = 30.0) -> Webhook:
    return Webhook(
        WebhookOptions(f"{scheme}://127.0.0.1:{port}/hook?x=1", Masked(KEY), timeout, ca_file), "example.org"
    )


async def test_a_call_is_signed_and_names_itself() -> None:
    with replying(answer(202)) as there:
        await webhook(there.where).send(MESSAGE)
        (request,) = there.requests
        assert request.startswith(b"POST /hook?x=1 HTTP/1.1\r\n")
        body = request.partition(b"\r\n\r\n")[2]
        stamp = there.header(0, "x-sds-time")
        assert stamp == str(int(NOW.timestamp()))
        assert there.header(0, "x-sds-id") == "id1"
        wanted = hmac.new(KEY, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        assert there.header(0, "x-sds-signature") == f"sha256={wanted}"
    told = json.loads(body)
    assert (told["id"], told["type"], told["trust_domain"]) == ("id1", "sds.notices.digest", "example.org")
    assert told["notices"][0]["text"] == "the token \u2603 ends"


@pytest.mark.parametrize("status", [302, 400, 410, 500])
async def test_anything_but_success_is_a_failure_and_no_redirect_is_followed(status: int) -> None:
    with replying(answer(status, headers={"Location": "/elsewhere"})) as there:
        with pytest.raises(SendFailed, match=f"answered {status}"):
            await webhook(there.where).send(MESSAGE)
        assert len(there.requests) == 1


async def test_tls_is_verified(tmp_path: Path) -> None:
    pki = WebPki()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pki.issue().write(tmp_path, "hook"))
    (tmp_path / "ca.pem").write_bytes(pki.root_pem)
    with replying(answer(200), tls=context) as there:
        await webhook(there.where, "https", tmp_path / "ca.pem").send(MESSAGE)
        with pytest.raises(SendFailed, match="cannot be reached"):
            await webhook(there.where, "https").send(MESSAGE)
        assert len(there.requests) == 1
        with pytest.raises(SendFailed, match="authorities cannot be read"):
            await webhook(there.where, "https", tmp_path / "no.pem").send(MESSAGE)


async def test_one_that_hangs_drips_or_is_not_there_is_left() -> None:
    def drip(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 X\r\n")
        for _ in range(600):
            connection.sendall(b"A: b\r\n")
            time.sleep(0.05)

    def hang(connection: socket.socket, _: bytes) -> None:
        connection.recv(1)

    for reply in (drip, hang):
        with replying(reply) as there:
            with pytest.raises(SendFailed, match="longer than") as left:
                await webhook(there.where, timeout=1.0).send(MESSAGE)
            assert left.value.outage
    with pytest.raises(SendFailed, match="cannot be reached") as gone:
        await webhook(there.where).send(MESSAGE)
    assert KEY.decode() not in str(gone.value)
    assert KEY.decode() not in repr(WebhookOptions("https://x", Masked(KEY), 1.0))

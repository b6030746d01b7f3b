"""Mail, to a server that is real enough: TLS and its name, passwords, refusals, silence, and nothing injected."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attestation.spiffe_id import TrustDomain
from ca.masked import Masked
from sds.notices.message import compose
from sds.notices.notice import Kind, Notice
from sds.notices.plan import Mode
from sds.notices.template import SUBJECT, TEXT, MessageTemplate
from sds.server.notices.mail import Mailer, MailOptions, password_from
from sds.server.notices.outgoing import Outgoing, SendFailed, message_id
from sds.server.notices.texts import Texts, load_texts
from tests.contract.public.pki import WebPki
from tests.fakes.mail_server import MailServer, mail_server

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OPS = "ops@example.org"
ONE = Notice("n1", Kind.CERTIFICATE, "e1", OPS, "spiffe://example.org/web ends", "pay", 1, True, NOW, NOW, NOW)
DOMAIN = TrustDomain("example.org")


def server_tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A certificate for 127.0.0.1, and the file of the authority that it leads to."""
    pki = WebPki()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pki.issue().write(folder, "mail"))
    (folder / "ca.pem").write_bytes(pki.root_pem)
    return context, folder / "ca.pem"


def outgoing(*notices: Notice, to: str = OPS) -> Outgoing:
    notices = notices or (ONE,)
    message = compose(notices, Mode.URGENT, NOW, "example.org", "host")
    return Outgoing(message_id(to, Mode.URGENT, notices), to, Mode.URGENT, NOW, notices, message)


def options(server: MailServer, **more: object) -> MailOptions:
    made = MailOptions("127.0.0.1", server.port, "none", "sds@example.org", timeout=30.0)
    return replace(made, **more)


def mailer(server: MailServer, **more: object) -> Mailer:
    return Mailer(options(server, **more), load_texts(None, html=True), DOMAIN)


async def test_a_message_arrives_as_text_and_html() -> None:
    async with mail_server() as server:
        await mailer(server).send(outgoing())
        (got,) = server.received
    assert (got.sender, got.recipients) == ("sds@example.org", [OPS])
    assert got.message["Subject"] == "[sds example.org] 1 notice, 1 urgent"
    assert got.message["Message-ID"] == f"<{outgoing().id}@example.org>"
    assert got.message["Auto-Submitted"] == "auto-generated"
    assert "spiffe://example.org/web ends" in got.message.get_body(("plain",)).get_content()
    assert "spiffe://example.org/web ends" in got.message.get_body(("html",)).get_content()


@pytest.mark.parametrize(
    "text", ["a\r\nBcc: x@evil.example", "a\n.\r\nMAIL FROM:<x@evil.example>", "\u202eevil\u2028\x00"]
)
async def test_nothing_is_injected_by_what_entries_say(text: str) -> None:
    """Neither by a template that puts it into the subject."""
    async with mail_server() as server:
        subject = MessageTemplate(
            "{% for g in groups %}{% for l in g.lines %}{{ l.text }}{{ l.owner }}{% endfor %}{% endfor %}"
        )
        hostile = Mailer(options(server), Texts(subject, MessageTemplate(TEXT), None), DOMAIN)
        await hostile.send(outgoing(replace(ONE, text=text, owner=text)))
        (got,) = server.received
    assert got.recipients == [OPS]
    assert set(got.message.keys()) >= {"Subject", "To"}
    assert not {"bcc", "cc"} & {key.lower() for key in got.message}
    assert got.message["Subject"].isprintable()


@pytest.mark.parametrize(
    "to", ["a@x.org\r\nBcc: b@x.org", "a@x.org, b@x.org", "<a@x.org>", "a b@x.org", "a@x.org>", "@", ""]
)
async def test_what_is_no_plain_address_is_never_written_to(to: str) -> None:
    async with mail_server() as server:
        with pytest.raises(SendFailed, match="plain e-mail address"):
            await mailer(server).send(outgoing(to=to))
        assert server.connections == 0


async def test_tls_is_demanded_and_its_certificate_verified(tmp_path: Path) -> None:
    context, ca = server_tls(tmp_path)
    async with mail_server(MailServer(tls=context)) as server:
        await mailer(server, security="starttls", ca_file=ca).send(outgoing())
        assert server.received[0].over_tls
        with pytest.raises(SendFailed, match="certificate is not good") as refused:
            await mailer(server, security="starttls").send(outgoing())
        assert refused.value.outage
    async with mail_server(MailServer(tls=context, implicit_tls=True)) as server:
        await mailer(server, security="tls", ca_file=ca).send(outgoing())
        assert server.received[0].over_tls
    async with mail_server(MailServer(tls=context, offer_starttls=False)) as server:
        with pytest.raises(SendFailed, match="offers no STARTTLS"):
            await mailer(server, security="starttls", ca_file=ca).send(outgoing())
        assert server.received == []


async def test_a_password_goes_over_tls_and_into_no_error(tmp_path: Path) -> None:
    context, ca = server_tls(tmp_path)
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    async with mail_server(MailServer(tls=context, accounts={"sds": "hunter2"})) as server:
        chosen = {"security": "starttls", "ca_file": ca, "user": "sds"}
        await mailer(server, password=password_from(file, None), **chosen).send(outgoing())
        assert server.received[0].user == "sds"
        file.write_text("wrong-canary")
        with pytest.raises(SendFailed, match="refuses the password") as refused:
            await mailer(server, password=password_from(file, None), **chosen).send(outgoing())
        assert "canary" not in str(refused.value)
        with pytest.raises(SendFailed, match="cannot be read"):
            await mailer(server, password=password_from(tmp_path / "no", None), **chosen).send(outgoing())
        with pytest.raises(SendFailed, match="not set"):
            await mailer(server, password=password_from(None, "SDS_TEST_NO_SUCH"), **chosen).send(outgoing())
    assert "hunter2" not in repr(MailOptions("h", 1, "tls", "s@x.org", 1.0, password=lambda: Masked("hunter2")))


async def test_refusals_are_of_the_recipient_and_greylisting_passes() -> None:
    async with mail_server(MailServer(greylist={OPS}, refuse={"no@example.org": "550 no\x1b[31m such user"})) as server:
        with pytest.raises(SendFailed, match=r"450 4[.]2[.]0 greylisted") as put_off:
            await mailer(server).send(outgoing())
        assert not put_off.value.outage
        await mailer(server).send(outgoing())
        assert len(server.received) == 1
        with pytest.raises(SendFailed, match="550 no") as refused:
            await mailer(server).send(outgoing(to="no@example.org"))
        assert str(refused.value).isprintable()
        assert not refused.value.outage


@pytest.mark.parametrize("at", ["connect", "ehlo", "rcpt", "data", "end"])
async def test_a_server_that_hangs_is_left(at: str) -> None:
    async with mail_server(MailServer(hang_at=at)) as server:
        with pytest.raises(SendFailed, match=r"longer than|in time") as left:
            await mailer(server, timeout=1.0).send(outgoing())
        assert left.value.outage
        assert server.received == []


async def test_a_server_that_drips_is_left_too() -> None:
    """Each byte comes in time, and all of them never."""
    async with mail_server(MailServer(drip=True)) as server:
        with pytest.raises(SendFailed, match="longer than"):
            await mailer(server, timeout=1.0).send(outgoing())


async def test_what_was_taken_over_counts_whatever_comes_after() -> None:
    async with mail_server(MailServer(hang_at="quit")) as server:
        await mailer(server, timeout=3.0).send(outgoing())
        assert len(server.received) == 1


async def test_one_that_is_cancelled_lets_go_at_once() -> None:
    async with mail_server(MailServer(hang_at="data")) as server:
        sending = asyncio.create_task(mailer(server).send(outgoing()))
        async with asyncio.timeout(60):
            while not server.connections:
                await asyncio.sleep(0.01)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_nobody_there_or_somebody_else() -> None:
    async with mail_server() as server:
        gone = options(server)
    with pytest.raises(SendFailed, match="cannot be reached") as lost:
        await Mailer(gone, load_texts(None, html=False), DOMAIN).send(outgoing())
    assert lost.value.outage
    async with mail_server(MailServer(greeting="554 go away")) as server:
        with pytest.raises(SendFailed, match="554 go away"):
            await mailer(server).send(outgoing())
    async with mail_server(MailServer(greeting="SSH-2.0-OpenSSH_9")) as server:
        with pytest.raises(SendFailed):
            await mailer(server).send(outgoing())


def test_the_subject_of_the_built_in_template_is_one_line() -> None:
    assert "\n" not in MessageTemplate(SUBJECT).render(outgoing().message)

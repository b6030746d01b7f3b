"""Messages by SMTP (RFC 5321), over TLS whose certificate is verified, within one bound of time for all of it."""

from __future__ import annotations

import asyncio
import os
import smtplib
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from pathlib import Path
from typing import Literal

from attestation.spiffe_id import TrustDomain
from ca.masked import Masked
from sds.notices.notice import line
from sds.notices.recipients import domain_of, is_address
from sds.server.notices.outgoing import Outgoing, SendFailed
from sds.server.notices.texts import Texts

LONGEST_PASSWORD = 4096
LONGEST_SUBJECT = 200
_LONGEST_REPLY = 160


@dataclass(frozen=True, slots=True)
class MailOptions:
    """`password` reads it anew; raises OSError. `timeout`: seconds for a whole message."""

    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    sender: str
    timeout: float
    ca_file: Path | None = None
    user: str = ""
    password: Callable[[], Masked[str]] | None = field(default=None, repr=False)


class Mailer:
    """One connection a message: few are sent, and none is then left open for long."""

    def __init__(self, options: MailOptions, texts: Texts, trust_domain: TrustDomain) -> None:
        self._options = options
        self._texts = texts
        self._trust_domain = trust_domain

    async def send(self, outgoing: Outgoing) -> None:
        """Raises SendFailed. Ends within the timeout whatever the other side does, and at once when cancelled."""
        message = await asyncio.to_thread(self.compose, outgoing)  # a template may take its time
        talk = _Talk(self._options)
        task = asyncio.ensure_future(asyncio.to_thread(talk.hand_over, message, outgoing.recipient))
        try:
            async with asyncio.timeout(self._options.timeout):
                await asyncio.shield(task)
        except TimeoutError:
            if not talk.accepted:
                raise SendFailed(f"the mail server took longer than {self._options.timeout:g} s", outage=True) from None
        finally:
            talk.abort()
            task.add_done_callback(_look_at)

    def compose(self, outgoing: Outgoing) -> EmailMessage:
        """The message. Nobody's text gets into a header but the subject's, and there it is one line.

        Raises SendFailed for a recipient that is no plain address, or a template that cannot be filled in.
        """
        if not is_address(outgoing.recipient):
            raise SendFailed("the recipient is no plain e-mail address")
        rendered = self._texts.render(outgoing.message)
        message = EmailMessage(policy=SMTP_POLICY)
        message["From"] = Address(addr_spec=self._options.sender)
        message["To"] = Address(addr_spec=outgoing.recipient)
        message["Subject"] = line(" ".join(rendered.subject.split()), LONGEST_SUBJECT)
        message["Date"] = format_datetime(outgoing.now.astimezone(UTC))
        message["Message-ID"] = f"<{outgoing.id}@{domain_of(self._options.sender)}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834 section 5: nobody's holiday answer comes back
        message["X-SDS-Trust-Domain"] = str(self._trust_domain)
        message["X-SDS-Notices"] = outgoing.mode.value
        message.set_content(rendered.body)
        if rendered.html is not None:
            message.add_alternative(rendered.html, subtype="html")
        return message


def _look_at(task: asyncio.Task[None]) -> None:
    """Whatever a talk that was broken off ends with is known already."""
    if not task.cancelled():
        task.exception()


class _Talk:
    """One conversation with the server, in a thread; another one may end it at any time."""

    def __init__(self, options: MailOptions) -> None:
        self._options = options
        self._smtp: smtplib.SMTP | None = None
        self._aborted = False
        self.accepted = False
        """Whether the message was taken over; how the conversation ends does not count then."""

    def abort(self) -> None:
        """Wakes the thread up, wherever it waits."""
        self._aborted = True
        connection = getattr(self._smtp, "sock", None)
        if connection is not None:
            with suppress(OSError, ValueError):
                connection.shutdown(socket.SHUT_RDWR)

    def hand_over(self, message: EmailMessage, recipient: str) -> None:
        """Raises SendFailed."""
        try:
            self._talk(message, recipient)
        except smtplib.SMTPRecipientsRefused as refused:
            code, text = next(iter(refused.recipients.values()), (0, b""))
            raise SendFailed(f"the recipient is refused: {_reply(code, text)}") from None
        except smtplib.SMTPAuthenticationError as refused:  # its text might repeat what we sent
            raise SendFailed(f"the mail server refuses the password ({refused.smtp_code})", outage=True) from None
        except smtplib.SMTPResponseException as refused:
            early = isinstance(refused, smtplib.SMTPConnectError | smtplib.SMTPHeloError)
            reply = _reply(refused.smtp_code, refused.smtp_error)
            raise SendFailed(f"the mail server refuses: {reply}", outage=early) from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise SendFailed(_outage(error), outage=True) from None
        finally:
            if self._smtp is not None:
                self._smtp.close()

    def _talk(self, message: EmailMessage, recipient: str) -> None:
        """Raises OSError, SMTPException, ValueError, SendFailed."""
        password = None
        if self._options.password is not None:
            try:
                password = self._options.password()
            except OSError as error:
                raise SendFailed(f"the password cannot be read: {error.strerror}", outage=True) from None
        smtp = self._connect()
        if password is not None:
            smtp.login(self._options.user, password.reveal())
        smtp.send_message(message, self._options.sender, [recipient])
        self.accepted = True
        with suppress(smtplib.SMTPException, OSError):
            smtp.quit()

    def _connect(self) -> smtplib.SMTP:
        """Raises OSError, SMTPException."""
        options = self._options
        smtp: smtplib.SMTP = (
            smtplib.SMTP_SSL(context=self._tls(), timeout=options.timeout)
            if options.security == "tls"
            else smtplib.SMTP(timeout=options.timeout)
        )
        self._smtp = smtp
        if options.security == "tls":  # connect() alone leaves this out, and TLS then checks no name
            smtp._host = options.host  # type: ignore[attr-defined]  # noqa: SLF001
        code, text = smtp.connect(options.host, options.port)
        if self._aborted:
            raise TimeoutError
        if code != 220:
            raise smtplib.SMTPConnectError(code, text)
        if options.security == "starttls":
            smtp._host = options.host  # type: ignore[attr-defined]  # noqa: SLF001
            smtp.ehlo()
            if not smtp.has_extn("starttls"):
                raise SendFailed("the mail server offers no STARTTLS", outage=True)
            smtp.starttls(context=self._tls())
        smtp.ehlo_or_helo_if_needed()
        return smtp

    def _tls(self) -> ssl.SSLContext:
        """Verifies the server's certificate for the host's name."""
        context = ssl.create_default_context(
            cafile=None if self._options.ca_file is None else str(self._options.ca_file)
        )
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def _reply(code: int, text: bytes | str) -> str:
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return line(f"{code} {' '.join(plain.split())}", _LONGEST_REPLY)


def _outage(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return "the mail server broke off"
    if isinstance(error, socket.gaierror):
        return "the mail server's name is not known"
    if isinstance(error, TimeoutError):
        return "the mail server did not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the mail server's certificate is not good: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with the mail server: {error.reason or 'it broke off'}"
    if isinstance(error, OSError):
        return f"the mail server cannot be reached: {error.strerror or type(error).__name__}"
    return f"the mail server speaks no SMTP that we understand ({type(error).__name__})"


def password_from(file: Path | None, variable: str | None) -> Callable[[], Masked[str]] | None:
    """Reads it when it is needed, so that a new one counts at once. What it gives raises OSError."""
    if file is not None:
        return lambda: _from_file(file)
    return None if variable is None else lambda: _from_environment(variable)


def _from_file(file: Path) -> Masked[str]:
    with file.open("rb") as stream:
        content = stream.read(LONGEST_PASSWORD + 1)
    try:
        text = content.decode().strip("\r\n")
    except UnicodeDecodeError:
        raise OSError(0, "it is no UTF-8 text") from None
    if not text or len(content) > LONGEST_PASSWORD:
        raise OSError(0, f"it has not 1 to {LONGEST_PASSWORD} bytes")
    return Masked(text)


def _from_environment(variable: str) -> Masked[str]:
    text = os.environ.get(variable, "")
    if not text:
        raise OSError(0, "the environment variable is not set")
    return Masked(text)

"""A mail server for tests: keeps what it is sent, and can refuse, put off, hang, drip, or speak TLS and ask who is there."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default


@dataclass(slots=True)
class Received:
    """One message, with its envelope."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    raw: bytes
    over_tls: bool
    user: str


@dataclass(slots=True)
class MailServer:
    """`hang_at`: the word (`connect`, `ehlo`, `rcpt`, `data`, `end`, `quit`) at which it says nothing any more."""

    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    offer_starttls: bool = True
    accounts: dict[str, str] = field(default_factory=dict)
    refuse: dict[str, str] = field(default_factory=dict)  # by recipient: the reply, e.g. "550 no such user"
    greylist: set[str] = field(default_factory=set)  # recipients that are put off once
    hang_at: str = ""
    drip: bool = False  # one byte of a reply every now and then, for ever
    greeting: str = "220 mail.example.org ESMTP"
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def wait_for(self, count: int, within: float = 60) -> list[Received]:
        """The messages once there are `count`."""
        async with asyncio.timeout(within):
            while len(self.received) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.received

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await _Session(self, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, ValueError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(Exception):
                await writer.wait_closed()

    def note(self, received: Received) -> None:
        self.received.append(received)
        self._changed.set()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Session:
    def __init__(self, server: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.over_tls = server.implicit_tls
        self.user = ""
        self.sender = ""
        self.recipients: list[str] = []

    async def say(self, text: str, at: str = "") -> None:
        if at and self.server.hang_at == at:
            await asyncio.sleep(3600)
        while self.server.drip:
            self.writer.write(b"2")
            await self.writer.drain()
            await asyncio.sleep(0.05)
        self.writer.write(text.encode() + b"\r\n")
        await self.writer.drain()

    async def run(self) -> None:
        await self.say(self.server.greeting, "connect")
        while line := await self.reader.readline():
            words = line.decode("ascii", "replace").strip()
            word = words.split(" ")[0].upper()
            if word in ("EHLO", "HELO"):
                await self.hello()
            elif word == "STARTTLS" and self.server.tls is not None:
                await self.say("220 go on")
                await self.writer.start_tls(self.server.tls)
                self.over_tls = True
            elif word == "AUTH":
                await self.authenticate(words)
            elif word == "MAIL":
                self.sender, self.recipients = words.partition("<")[2].partition(">")[0], []
                await self.say("250 ok")
            elif word == "RCPT":
                await self.recipient(words.partition("<")[2].partition(">")[0])
            elif word == "DATA":
                await self.data()
            elif word == "QUIT":
                await self.say("221 bye", "quit")
                return
            else:
                await self.say("250 ok" if word in ("RSET", "NOOP") else "500 what?")

    async def hello(self) -> None:
        offers = ["mail.example.org"]
        if self.server.tls is not None and not self.over_tls and self.server.offer_starttls:
            offers.append("STARTTLS")
        if self.server.accounts and (self.over_tls or self.server.tls is None):
            offers.append("AUTH PLAIN")
        for each in offers[:-1]:
            await self.say(f"250-{each}", "ehlo")
        await self.say(f"250 {offers[-1]}", "ehlo")

    async def authenticate(self, words: str) -> None:
        if words.upper().split(" ")[1] != "PLAIN":
            await self.say("504 only PLAIN")
            return
        _, user, password = base64.b64decode(words.split(" ")[2]).decode().split("\0")
        if self.server.accounts.get(user) == password:
            self.user = user
            await self.say("235 welcome")
        else:
            await self.say(f"535 who is {user} with {password}?")

    async def recipient(self, address: str) -> None:
        if address in self.server.greylist:
            self.server.greylist.discard(address)
            await self.say("450 4.2.0 greylisted, come again")
        elif self.server.accounts and not self.user:
            await self.say("530 who are you?")
        elif address in self.server.refuse:
            await self.say(self.server.refuse[address])
        else:
            self.recipients.append(address)
            await self.say("250 ok", "rcpt")

    async def data(self) -> None:
        await self.say("354 go on", "data")
        lines = []
        while (line := await self.reader.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b"..") else line)
        raw = b"".join(lines)
        message = message_from_bytes(raw, policy=default)
        assert isinstance(message, EmailMessage)
        if self.server.hang_at == "end":
            await asyncio.sleep(3600)
        self.server.note(Received(self.sender, self.recipients, message, raw, self.over_tls, self.user))
        await self.say("250 taken")


@asynccontextmanager
async def mail_server(server: MailServer | None = None) -> AsyncIterator[MailServer]:
    """A server on a free port of this host."""
    server = server or MailServer()
    context = server.tls if server.implicit_tls else None
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await server.end()
        await listening.wait_closed()

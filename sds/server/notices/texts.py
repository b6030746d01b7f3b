"""The templates in use: those of a folder where it has them, else the built-in ones; all are tried at start."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sds.config import ConfigError, Problem
from sds.notices.message import Message, compose
from sds.notices.notice import Kind, Notice
from sds.notices.plan import Mode
from sds.notices.template import HTML, MAX_SOURCE, SUBJECT, TEXT, MessageTemplate, TemplateUnusable
from sds.server.notices.outgoing import SendFailed

FILES = ("subject.txt", "body.txt", "body.html")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message for people. `html` None: plain text alone."""

    subject: str
    body: str
    html: str | None


class Texts:
    """Words messages for people."""

    def __init__(self, subject: MessageTemplate, body: MessageTemplate, html: MessageTemplate | None) -> None:
        self._subject = subject
        self._body = body
        self._html = html

    def render(self, message: Message) -> Rendered:
        """Raises SendFailed."""
        try:
            html = None if self._html is None else self._html.render(message)
            return Rendered(self._subject.render(message), self._body.render(message), html)
        except TemplateUnusable as error:
            raise SendFailed(f"a template {error}") from None


def load_texts(folder: Path | None, *, html: bool) -> Texts:
    """Raises ConfigError with every problem of every template. Blocks."""
    problems: list[Problem] = []
    found: list[MessageTemplate | None] = []
    for name, built_in in zip(FILES, (SUBJECT, TEXT, HTML), strict=True):
        try:
            template = MessageTemplate(_source(folder, name, built_in), html=name.endswith(".html"))
            for sample in samples():
                template.render(sample)
            found.append(template)
        except TemplateUnusable as error:
            problems.append(Problem("notices.templates", f"{name} {error}"))
            found.append(None)
    subject, body, as_html = found
    if folder is not None and not problems and not any((folder / name).exists() for name in FILES):
        problems.append(Problem("notices.templates", f"has none of {', '.join(FILES)}"))
    if problems or subject is None or body is None:
        raise ConfigError(problems)
    return Texts(subject, body, as_html if html else None)


def samples() -> tuple[Message, ...]:
    """One message of each kind, with everything in it that a message can have."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    every = [
        Notice(f"{kind}-{number}", kind, "subject", "a@example.org", "text", owner, 0, bool(number), due, now, now)
        for kind in Kind
        for number, owner, due in ((0, "", None), (1, "owner", now + timedelta(hours=1)), (2, "", now))
    ]
    over = [replace(one, ended_at=now) for one in every]
    made = [
        compose(notices, mode, now, "example.org", "host", most=2)
        for mode in (Mode.DIGEST, Mode.URGENT)
        for notices in (every, over, every[:1], [*every, *over])
    ]
    return (*made, compose((), Mode.TEST, now, "example.org", "host"))


def _source(folder: Path | None, name: str, built_in: str) -> str:
    if folder is None:
        return built_in
    try:
        with (folder / name).open("rb") as file:
            content = file.read(4 * MAX_SOURCE + 1)
        return content.decode()
    except FileNotFoundError:
        if not folder.is_dir():
            raise TemplateUnusable("cannot be read: there is no such folder") from None
        return built_in
    except OSError as error:
        raise TemplateUnusable(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TemplateUnusable("is not UTF-8 text") from None

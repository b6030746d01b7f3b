"""Logs: structlog as JSON lines on standard error, with request ids; the standard library's loggers flow in too.

Every line passes the net of `sds.redaction` last, whoever wrote it.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Literal, TextIO, cast
from uuid import uuid4

import structlog

from sds.redaction import clean_pair, clean_text, describe_exception

Logger = structlog.stdlib.BoundLogger
Event = MutableMapping[str, Any]

_request_id: ContextVar[str | None] = ContextVar("sds_request_id", default=None)

MAX_FIELDS = 64
_FORMATTER_KEYS = ("_record", "_from_structlog")

_QUIET = ("sqlalchemy", "httpx", "httpcore", "asyncio", "grpc", "apscheduler", "urllib3", "uvicorn.access", "alembic")
"""Never below WARNING: at DEBUG these write statements, parameters or a line a request."""
_FIRST = ("timestamp", "level", "event", "logger", "request_id")


def get_logger(name: str, **facts: object) -> Logger:
    """A logger whose lines carry `name` as ``logger`` and `facts`. Hand it on; don't make one a call."""
    return cast("Logger", structlog.get_logger(name, **facts))


def request_id() -> str | None:
    """The id of the request being served in this context."""
    return _request_id.get()


@contextmanager
def request_context(value: str | None = None) -> Iterator[str]:
    """All lines written inside carry this request id; a new one if none is given.

    A `value` from outside is cut to 64 printable ASCII characters.
    """
    given = "".join(c for c in (value or "")[:64] if c.isascii() and c.isprintable())
    identifier = given or uuid4().hex
    token = _request_id.set(identifier)
    try:
        yield identifier
    finally:
        _request_id.reset(token)


def configure_logging(
    *,
    level: Literal["debug", "info", "warning", "error"] = "info",
    style: Literal["json", "console"] = "json",
    stream: TextIO | None = None,
) -> None:
    """Set up all logging of this process; may be called again (SIGHUP). `stream` is standard error by default."""
    chain: list[structlog.typing.Processor] = [
        _add_request_id,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _stamp,
        _describe_exception,
        redact,  # before any handler, also a foreign one, sees the line
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *chain, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _Handler(stream or sys.stderr)
    handler.addFilter(_clean_arguments)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain, processors=[_drop_meta, *_renderers(style)], keep_exc_info=False
        )
    )
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    set_level(level)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def set_level(level: str) -> None:
    """Change the level of all loggers at once; libraries that say too much stay at WARNING."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(number)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def redact(_logger: object, _method: str, event: Event) -> Event:
    """The net: a processor after which no value needs to be trusted."""
    cleaned: dict[str, Any] = {}
    for name, value in event.items():
        if name in _FORMATTER_KEYS:
            continue
        if len(cleaned) >= MAX_FIELDS:
            cleaned["dropped_fields"] = len(event) - MAX_FIELDS
            break
        if name == "exception" and isinstance(value, str):
            cleaned[name] = value  # already cleaned, link by link
        else:
            cleaned[clean_text(str(name), 128)] = clean_pair(str(name), value)
    return cleaned


def _drop_meta(_logger: object, _method: str, event: Event) -> Event:
    for name in _FORMATTER_KEYS:
        event.pop(name, None)
    return event


def _put_first(_logger: object, _method: str, event: Event) -> Event:
    """What the eye looks for comes first in every line."""
    first: dict[str, Any] = {name: event[name] for name in _FIRST if name in event}
    return {**first, **event}


def _renderers(style: str) -> list[structlog.typing.Processor]:
    if style == "console":
        return [_escape_controls, structlog.dev.ConsoleRenderer(colors=False)]
    return [_put_first, structlog.processors.JSONRenderer()]


_stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)


def _add_request_id(_logger: object, _method: str, event: Event) -> Event:
    identifier = _request_id.get()
    if identifier is not None:
        event.setdefault("request_id", identifier)
    return event


def _describe_exception(_logger: object, _method: str, event: Event) -> Event:
    """Our own rendering, because the usual one prints what the exception quotes."""
    info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    record = event.get("_record")
    if info is None and isinstance(record, logging.LogRecord):
        info = record.exc_info
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["exception"] = describe_exception(error)
    return event


def _escape_controls(_logger: object, _method: str, event: Event) -> Event:
    """A terminal must not obey what a log line quotes."""

    def escape(text: str) -> str:
        return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)

    return {
        escape(name): escape(value)
        if name == "exception"
        else escape(value).replace("\n", "\\n")
        if isinstance(value, str)
        else value
        for name, value in event.items()
    }


def _clean_arguments(record: logging.LogRecord) -> bool:
    """Libraries' messages are formatted with their arguments: bytes and protobuf messages must not get that far."""
    if isinstance(record.args, tuple):
        record.args = tuple(_clean_argument(argument) for argument in record.args)
    elif isinstance(record.args, dict):
        record.args = {name: _clean_argument(value) for name, value in record.args.items()}
    return True


def _clean_argument(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, BaseException):
        return clean_pair("error", value)
    if hasattr(value, "DESCRIPTOR"):
        return f"<{type(value).__name__}>"
    return value


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to a stream; a line that cannot be rendered is told of without its content."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the standard library's name
        error = sys.exc_info()[0]
        if error is not None and issubclass(error, OSError | ValueError) and self.stream.closed:
            return
        try:
            self.stream.write(
                f'{{"event":"a log line could not be written","level":"error","logger":"{__name__}",'
                f'"error":"{error.__name__ if error else ""}","line":"{record.module}:{record.lineno}"}}\n'
            )
        except (OSError, ValueError):
            return  # standard error is gone: nothing is left to tell


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("sds").critical("uncaught exception", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        logging.getLogger("sds").critical(
            "uncaught exception in a thread", exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
        )

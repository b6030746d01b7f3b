from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog
from google.protobuf.wrappers_pb2 import BytesValue

from ca.masked import Masked
from sds.logs import configure_logging, get_logger, request_context, request_id, set_level

CANARY = "canary-91ab"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The configured stream; the process's logging is put back afterwards."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level, sys.excepthook, threading.excepthook)
    stream = io.StringIO()
    configure_logging(level="debug", stream=stream)
    yield stream
    logging.captureWarnings(False)
    structlog.reset_defaults()
    root.handlers[:], level, sys.excepthook, threading.excepthook = before
    root.setLevel(level)


def only(stream: io.StringIO) -> dict[str, object]:
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def test_a_line(lines: io.StringIO) -> None:
    get_logger("sds.test", node="n1").info("it happened", count=3)
    line = only(lines)
    assert line.pop("timestamp")
    assert line == {"event": "it happened", "level": "info", "logger": "sds.test", "node": "n1", "count": 3}


def test_the_standard_library_flows_in(lines: io.StringIO) -> None:
    logging.getLogger("a.library").info("listening on %s:%d", "127.0.0.1", 1)
    assert only(lines)["event"] == "listening on 127.0.0.1:1"


def test_request_ids(lines: io.StringIO) -> None:
    log = get_logger("sds.test")
    with request_context("r-1") as outer:
        assert outer == request_id() == "r-1"
        log.info("a")
        with request_context() as inner:
            logging.getLogger("grpc").warning("b")
            assert len(inner) == 32
        log.info("c")
    log.info("d")
    ids = [json.loads(line).get("request_id") for line in lines.getvalue().splitlines()]
    assert ids == ["r-1", inner, "r-1", None]
    assert request_id() is None


def test_a_request_id_from_outside_is_cut(lines: io.StringIO) -> None:
    with request_context("x" * 1000 + "\n") as long:
        assert long == "x" * 64
    with request_context("a\n\x1b[31mé") as odd:
        assert odd == "a[31m"
    with request_context("\n") as empty:
        assert len(empty) == 32


async def test_request_ids_of_tasks_do_not_mix(lines: io.StringIO) -> None:
    async def work(name: str) -> str | None:
        with request_context(name):
            await asyncio.sleep(0)
            return request_id()

    assert await asyncio.gather(work("a"), work("b")) == ["a", "b"]


def test_levels(lines: io.StringIO) -> None:
    log = get_logger("sds.test")
    set_level("warning")
    log.info("no")
    set_level("debug")
    log.debug("yes")
    logging.getLogger("sqlalchemy.engine").info("SELECT %s", CANARY)
    assert only(lines)["event"] == "yes"


def test_configured_twice_writes_once(lines: io.StringIO) -> None:
    configure_logging(stream=lines)
    get_logger("sds.test").info("once")
    assert only(lines)["event"] == "once"


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError(CANARY)

    __repr__ = __str__


PEM = f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize("style", ["json", "console"])
def test_canaries(lines: io.StringIO, style: str, caplog: pytest.LogCaptureFixture) -> None:
    configure_logging(level="debug", style=style, stream=lines)  # type: ignore[arg-type]
    log = get_logger("sds.test", password=CANARY)
    log.info(PEM)
    log.info("x", a=PEM, b=CANARY.encode(), c=Masked(CANARY), d=BytesValue(value=CANARY.encode()), e=Hostile())
    log.info("x", data={"join_token": CANARY, "list": [CANARY.encode()]}, **{PEM: 1})
    assert CANARY not in caplog.text  # other handlers get clean lines too
    logging.getLogger().removeHandler(caplog.handler)  # it stumbles over what follows
    logging.getLogger().handlers[:] = [h for h in logging.getLogger().handlers if "pytest" not in type(h).__module__]
    foreign = logging.getLogger("some.library")
    foreign.error("%s and %r", CANARY.encode(), BytesValue(value=CANARY.encode()))
    foreign.error("%(a)s", {"a": CANARY.encode()})
    foreign.error("%s", ValueError(PEM))
    foreign.error("bytes in text %s", repr(CANARY.encode()))
    foreign.error("token=%s", CANARY)
    foreign.error("%s", Hostile())
    foreign.error("%d", PEM)
    local = CANARY  # a traceback must not show local variables

    def fail() -> None:
        assert local
        raise ValueError("postgresql://u:" + local + "@h/d")

    try:
        fail()
    except ValueError:
        log.exception("failed")
        foreign.exception("failed")
        log.warning("failed", exc_info=True)
    written = lines.getvalue()
    assert CANARY not in written
    assert len(written.splitlines()) >= 13
    assert "a log line could not be written" in written
    if style == "json":
        assert all(json.loads(line) for line in written.splitlines())


def test_console_escapes_what_a_terminal_would_obey(lines: io.StringIO) -> None:
    configure_logging(style="console", stream=lines)
    get_logger("sds.test").info("a\x1b[31m\nb", name="\x9b2J\u202e\nc")
    (line,) = lines.getvalue().splitlines()
    assert all(c.isprintable() for c in line)


def test_fields_are_bounded(lines: io.StringIO) -> None:
    get_logger("sds.test").info("x", **{f"f{i}": "y" * 100_000 for i in range(200)})
    assert len(lines.getvalue()) < 64 * 4300
    assert only(lines)["dropped_fields"]


def test_a_closed_stream_is_no_error(lines: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    lines.close()
    get_logger("sds.test").error("into the void")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("where", ["main", "thread"])
def test_uncaught_exceptions_become_clean_lines(where: str) -> None:
    program = f"""
import threading
from sds.logs import configure_logging
configure_logging()
def fail():
    raise RuntimeError("password={CANARY}")
if {where == "thread"}:
    thread = threading.Thread(target=fail); thread.start(); thread.join()
else:
    fail()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == ""
    assert CANARY not in done.stderr
    line = json.loads(done.stderr)
    assert line["level"] == "critical"
    assert "RuntimeError" in line["exception"]


def test_warnings_become_clean_lines() -> None:
    program = f"""
import warnings
from sds.logs import configure_logging
configure_logging()
warnings.warn("password={CANARY}")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert json.loads(done.stderr)["logger"] == "py.warnings"
    assert CANARY not in done.stderr

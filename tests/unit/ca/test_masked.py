"""No ordinary way of showing, copying or storing a masked value gives it out."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import pprint
import re
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any

import pytest
import structlog

from ca.kek import Kek, KeyRing
from ca.keys import PrivateKey, to_pkcs8_pem
from ca.masked import Masked
from ca.signer import LocalSigner
from tests.fakes.ca import make_authority, make_svid

CANARY = "canary-5f1d"


@dataclass(frozen=True)
class Holder:
    name: str
    secret: Masked[str]


def secrets() -> list[Any]:
    return [
        Masked(CANARY),
        Masked(CANARY.encode()),
        Holder("h", Masked(CANARY)),
        [Masked(CANARY)],
        {"k": Masked(CANARY)},
    ]


def structlog_line(value: object) -> str:
    render = structlog.processors.JSONRenderer()
    return str(render(None, "info", {"event": "x", "value": value}))


def log_line(value: object) -> str:
    stream = io.StringIO()
    logger = logging.Logger("test")  # noqa: LOG001 - not registered on purpose
    logger.addHandler(logging.StreamHandler(stream))
    logger.error("value %s %r", value, value)
    return stream.getvalue()


def exception_text(value: object) -> str:
    try:
        raise ValueError(value)  # noqa: TRY301 - the traceback is the point
    except ValueError as error:
        stack = traceback.TracebackException.from_exception(error, capture_locals=True)
        return "".join(stack.format())


SHOWN: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "str": str,
    "f-string": lambda v: f"{v} {v!r} {v!s} {v!a}",
    "format": lambda v: f"{v:}" + "{} {!r}".format(v, v),  # noqa: UP032
    "percent": lambda v: "%s %r %a" % (v, v, v),  # noqa: UP031
    "template": lambda v: Template("$v").substitute(v=v),
    "pprint": pprint.pformat,
    "json default": lambda v: json.dumps(v, default=str) + json.dumps(v, default=repr),
    "structlog": structlog_line,
    "logging": log_line,
    "traceback with locals": exception_text,
}


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
@pytest.mark.parametrize("value", secrets(), ids=lambda v: type(v).__name__)
def test_nothing_shows_it(show: Callable[[Any], str], value: object) -> None:
    assert CANARY not in show(value)


def test_a_format_spec_shows_nothing_either() -> None:
    assert CANARY not in f"{Masked(CANARY):>40}{Masked(CANARY):.200s}"


@pytest.mark.parametrize("value", secrets(), ids=lambda v: type(v).__name__)
def test_nothing_copies_or_stores_it(value: object) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(value, protocol)
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        copy.deepcopy(value)
    with pytest.raises(TypeError):
        json.dumps(value)


def test_a_shallow_copy_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        copy.copy(Masked(CANARY))


def test_it_has_no_state_or_dictionary_to_walk() -> None:
    secret = Masked(CANARY)
    with pytest.raises(TypeError):
        vars(secret)
    with pytest.raises(TypeError):
        secret.__getstate__()
    with pytest.raises(TypeError):
        asdict(Holder("h", secret))


def test_comparing_and_hashing_are_refused() -> None:
    """Both would let a secret be guessed by time or kept by accident."""
    with pytest.raises(TypeError):
        Masked(CANARY) == Masked(CANARY)  # noqa: B015
    with pytest.raises(TypeError):
        Masked(CANARY) != CANARY  # noqa: B015
    with pytest.raises(TypeError):
        hash(Masked(CANARY))


def test_it_cannot_be_iterated_indexed_or_joined() -> None:
    secret: Any = Masked(CANARY)
    for attempt in (iter, len, bytes, "".join, lambda s: s[0], lambda s: s + "", lambda s: "c" in s):
        with pytest.raises(TypeError):
            attempt(secret)


def test_reveal_gives_it_out() -> None:
    assert Masked(CANARY).reveal() == CANARY


def test_holders_of_keys_do_not_show_them(key: PrivateKey) -> None:
    ring = KeyRing(Kek.of(Masked(CANARY.encode().ljust(32, b"."))))
    authority = make_authority(key=key)
    scalar = str(key.private_numbers().private_value)  # type: ignore[union-attr]
    pem = to_pkcs8_pem(key).reveal().decode().splitlines()[1]
    for holder in (ring, ring.current, ring.encode(), LocalSigner.of(key), authority, make_svid(authority=authority)):
        text = f"{holder!r} {holder}"
        assert CANARY not in text
        assert "Y2FuYXJ5" not in text  # its base64
        assert scalar not in text
        assert pem not in text


def test_only_these_files_of_the_ca_reveal() -> None:
    """Design rule 12: each file that opens a secret is known by name."""
    root = Path(__file__).parents[3]
    revealing = {
        path.relative_to(root).as_posix()
        for path in root.glob("ca/**/*.py")
        if re.search(r"\.reveal\(", path.read_text())
    }
    assert revealing == {"ca/kek.py", "ca/key_managers/token.py", "ca/keys.py"}

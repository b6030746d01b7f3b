"""docs/audit-sinks.md: its configuration is one, and its receiver knows our signatures."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ca.masked import Masked
from sds.audit.sinks.webhook import signed_headers
from sds.config.audit import AuditSection, AuditSinkSection
from sds.config.problems import translate

PAGE = (Path(__file__).parents[4] / "docs" / "audit-sinks.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_example_is_a_configuration() -> None:
    section = AuditSection.model_validate(tomllib.loads(block("toml"))["audit"])
    assert [sink.kind for sink in section.sinks.values()] == ["file", "syslog", "webhook", "otlp"]


def test_the_receivers_check_knows_a_signature_and_no_other() -> None:
    names: dict[str, Any] = {}
    exec(block("python"), names)
    headers = signed_headers(Masked(b"k" * 32), 7, b"body")
    time, signature = headers["X-SDS-Time"], headers["X-SDS-Signature"]
    assert names["genuine"](b"k" * 32, time, signature, b"body")
    assert not names["genuine"](b"k" * 32, "8", signature, b"body")
    assert not names["genuine"](b"l" * 32, time, signature, b"body")
    assert not names["genuine"](b"k" * 32, time, signature, b"Body")


WEBHOOK = {"kind": "webhook", "url": "https://a.example/x", "signing_key_file": "/k"}


@pytest.mark.parametrize(
    ("sink", "wrong"),
    [
        ({"kind": "file"}, "path"),
        ({"kind": "file", "path": "relative"}, "path"),
        ({"kind": "file", "path": "/a", "url": "https://a.example/"}, "url"),
        ({"kind": "stdout", "path": "/a"}, "path"),
        ({"kind": "syslog", "transport": "tcp"}, "address"),
        ({"kind": "syslog", "address": "a:514"}, "address"),
        ({"kind": "syslog", "transport": "udp", "address": "a:514", "ca_file": "/c"}, "ca_file"),
        ({"kind": "syslog", "transport": "tls", "address": "a:514", "socket": "/dev/log"}, "socket"),
        ({"kind": "syslog", "max_bytes": 100}, "max_bytes"),
        ({"kind": "webhook", "url": "https://a.example/x"}, "signing_key_file"),
        ({**WEBHOOK, "url": "http://a.example/x"}, "url"),
        ({**WEBHOOK, "url": "https://user@a.example/x"}, "url"),
        ({**WEBHOOK, "url": "ftp://a.example/x"}, "url"),
        ({**WEBHOOK, "url": "https://[/"}, "url"),
        ({**WEBHOOK, "signing_key_env": "K"}, "signing_key_env"),
        ({**WEBHOOK, "cert_file": "/c"}, "cert_file"),
        ({"kind": "otlp"}, "url"),
        ({"kind": "otlp", "url": "https://a.example/", "signing_key_file": "/k"}, "signing_key_file"),
        ({"kind": "kafka"}, "kind"),
        ({"kind": "stdout", "batch": 0}, "batch"),
        ({}, "kind"),
    ],
)
def test_what_is_wrong_with_a_sink_is_told_by_its_key(sink: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError) as refused:
        AuditSinkSection.model_validate(sink)
    assert wrong in [problem.key for problem in translate(refused.value)]


@pytest.mark.parametrize(
    ("sinks", "wrong"),
    [
        ({"a": {"kind": "stdout"}, "b": {"kind": "stdout"}}, "sinks.b"),
        ({"a": {"kind": "file", "path": "/a"}, "b": {"kind": "file", "path": "/a"}}, "sinks.b"),
        ({"a b": {"kind": "stdout"}}, "sinks.a b"),
        ({f"s{number}": {"kind": "otlp", "url": "https://a.example/"} for number in range(17)}, "sinks"),
    ],
)
def test_what_is_wrong_between_sinks_is_told(sinks: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError) as refused:
        AuditSection.model_validate({"sinks": sinks})
    assert [problem.key for problem in translate(refused.value)] == [wrong]

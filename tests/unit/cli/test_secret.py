"""sds secret over a fake server: what is defined, how it stands, and values that no command line and no answer has."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sds.clock import SystemClock
from sds.secrets.secret import SecretState, VersionInfo
from tests.fakes import pki
from tests.fakes.admin_secrets import FakeSecrets
from tests.fakes.admin_server import Running
from tests.unit.cli.conftest import CLEAN, SDS, Sds

CANARY = "CANARY-of-a-value"
KV = ("--from", "kv", "--path", "apps/orders", "--field", "token")


@pytest.fixture
def secrets(running: Running) -> FakeSecrets:
    return running.fakes.secrets


@pytest.fixture
def token(sds: Sds) -> str:
    sds("secret", "create", "orders/token")
    return "orders/token"


def last(secrets: FakeSecrets, name: str) -> Mapping[str, bytes]:
    """The newest value that the server was given, in clear."""
    return {field: value.reveal() for field, value in secrets.values[name][-1].items()}


# Defining


def test_create_and_show(sds: Sds, secrets: FakeSecrets) -> None:
    made = sds.json("secret", "create", "token", "--owner", "me", "--label", "env=prod", "--rotate-every", "30d")
    assert (made["kind"], made["source"], made["rotation"]) == (
        "generic", {"backend": "embedded"}, {"every": 2592000, "generate": 0},
    )  # fmt: skip
    assert (
        sds.json("secret", "create", "token", "--owner", "me", "--label", "env=prod", "--rotate-every", "30d") == made
    )
    assert "sds secret show" in sds("secret", "create", "token", code=4).stderr
    shown = sds("secret", "show", "token").stdout
    assert re.search(r"^Labels +env=prod$", shown, re.MULTILINE)
    assert re.search(r"^Rotate every +30d$", shown, re.MULTILINE)
    sds("secret", "show", "nothing", code=3)


@pytest.mark.parametrize(
    ("arguments", "kind", "source"),
    [
        (KV, "generic", {"mount": "secret", "path": "apps/orders", "fields": {"": "token"}}),
        (("--from", "kv", "--mount", "kv2", "--path", "a", "--kind", "map"), "map", {"mount": "kv2", "path": "a", "fields": {}}),
        (
            ("--from", "kv", "--path", "gw", "--kind", "certificate", "--field", "chain=crt", "--field", "private_key=key"),
            "certificate",
            {"mount": "secret", "path": "gw", "fields": {"chain": "crt", "private_key": "key"}},
        ),
        (("--from", "database", "--role", "orders"), "map", {"mount": "database", "role": "orders"}),
        (
            ("--from", "pki", "--role", "gw", "--common-name", "gw.example.org", "--dns", "a.example.org", "--ttl", "3d"),
            "certificate",
            {"mount": "pki", "role": "gw", "common_name": "gw.example.org", "dns_names": ["a.example.org"], "ttl": 259200},
        ),
    ],
)  # fmt: skip
def test_sources_of_vault(sds: Sds, arguments: tuple[str, ...], kind: str, source: dict[str, Any]) -> None:
    made = sds.json("secret", "create", "token", *arguments)
    assert (made["kind"], made["source"]) == (kind, {"backend": arguments[1], **source})
    assert made["state"]["checked_at"] is not None, "its source was looked at"
    assert f"{arguments[1]} {source['mount']}/" in sds("secret", "show", "token").stdout


def test_the_first_look_may_fail(sds: Sds, secrets: FakeSecrets) -> None:
    secrets.answers["token"] = SecretState(problem="permission denied", problem_code="denied")
    result = sds("secret", "create", "token", *KV)
    assert "The first look at its source failed: permission denied." in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", "kv"),
        ("--path", "x"),
        ("--from", "database", "--role", "r", "--kind", "generic"),
        ("--generate", "3"),
        ("--refresh", "1ms"),
    ],
)
def test_what_the_server_refuses(sds: Sds, arguments: tuple[str, ...]) -> None:
    assert "Error: the request has 1 problem" in sds("secret", "create", "token", *arguments, code=1).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--kind", "password"),
        ("--from", "aws"),
        ("--refresh", "soon"),
        ("--rotate-every", "soon"),
        ("--label", "x"),
        ("--from", "kv", "--field", "a=b", "--field", "a=c"),
        ("--from", "kv", "--field", "a="),
        ("--generate", "-1"),
    ],
)
def test_what_is_no_command_line(sds: Sds, secrets: FakeSecrets, arguments: tuple[str, ...]) -> None:
    sds("secret", "create", "token", *arguments, code=2)
    assert secrets.rows == {}


def test_update_changes_what_is_given(sds: Sds) -> None:
    sds("secret", "create", "token", *KV, "--owner", "me", "--rotate-every", "30d", "--label", "a=b")
    changed = sds.json("secret", "update", "token", "--path", "apps/other", "--refresh", "10s", "--label", "")
    assert changed["source"] == {"backend": "kv", "mount": "secret", "path": "apps/other", "fields": {"": "token"}}
    assert (changed["owner"], changed["labels"], changed["refresh"], changed["revision"]) == ("me", {}, 10, 2)
    assert changed["rotation"] == {"every": 2592000, "generate": 0}
    again = sds.json("secret", "update", "token", "--refresh", "default", "--rotate-every", "never", "--rename", "t2")
    assert (again["name"], again["refresh"], again["rotation"]["every"]) == ("t2", None, None)
    here = sds.json("secret", "update", "t2", "--from", "embedded", "--generate", "32")
    assert (here["source"], here["rotation"]["generate"]) == ({"backend": "embedded"}, 32)
    sds("secret", "update", "t2", code=2)
    assert "sds secret show" in sds("secret", "update", "t2", "--owner", "x", "--revision", "1", code=4).stderr


def test_list(sds: Sds, secrets: FakeSecrets, token: str) -> None:
    sds("secret", "create", "from-vault", *KV)
    now = SystemClock().now()
    secrets.states["from-vault"] = SecretState("7", now, now, None, "no\x1b[31m such path", "missing", now)
    secrets.watchers["from-vault"] = 12
    lines = sds("secret", "list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "KIND", "SOURCE", "VERSION", "CHANGED", "GRANTS", "WATCHERS", "PROBLEM"]
    assert lines[1].startswith("from-vault")
    assert "kv secret/apps/orders   7 " in lines[1]
    assert lines[1].endswith("0        12         no\\x1b[31m such path")
    assert [each["name"] for each in sds.json("secret", "list", "--problem")["secrets"]] == ["from-vault"]
    assert [each["name"] for each in sds.json("secret", "list", "--from", "embedded")["secrets"]] == [token]
    assert [each["name"] for each in sds.json("secret", "list", "--prefix", "orders/")["secrets"]] == [token]
    assert "sds secret create" in sds("secret", "list", "--kind", "map").stderr


# Values


def test_put_from_a_file(sds: Sds, secrets: FakeSecrets, token: str, tmp_path: Path) -> None:
    (tmp_path / "v").write_bytes(b"\x01\xff" + CANARY.encode())
    result = sds("secret", "put", token, "--file", str(tmp_path / "v"))
    assert last(secrets, token) == {"": b"\x01\xff" + CANARY.encode()}
    assert result.stdout == f"Wrote version 1 of {token}.\n"
    assert "sds grant create" in result.stderr, "nobody has it yet"
    assert CANARY not in result.stdout + result.stderr


@pytest.mark.parametrize("arguments", [("-",), ("--file", "-")])
def test_put_from_standard_input(sds: Sds, secrets: FakeSecrets, token: str, arguments: tuple[str, ...]) -> None:
    written = json.loads(sds("secret", "put", token, *arguments, "-o", "json", stdin=CANARY).stdout)
    assert (written["version"], written["state"], last(secrets, token)) == ("1", "live", {"": CANARY.encode()})


def test_a_lines_end_is_kept_unless_told_otherwise(sds: Sds, secrets: FakeSecrets, token: str) -> None:
    assert "--chomp" in sds("secret", "put", token, "-", stdin=CANARY + "\n").stderr
    assert last(secrets, token) == {"": CANARY.encode() + b"\n"}
    for text in (CANARY + "\n", CANARY + "\r\n", CANARY):
        assert "--chomp" not in sds("secret", "put", token, "-", "--chomp", stdin=text).stderr
        assert last(secrets, token) == {"": CANARY.encode()}


@pytest.mark.parametrize(
    "arguments",
    [
        (CANARY,),
        ("-", CANARY),
        (CANARY, "-"),
        ("--value", CANARY),
        (f"--value={CANARY}",),
        ("--field", f"password={CANARY}"),
        ("--field", f"password={CANARY}", "--field", "user=@file"),
        ("--field", f"=@{CANARY}"),
        ("--file", "x", "-", CANARY),
    ],
)
def test_a_value_as_an_argument_is_refused_and_not_repeated(
    sds: Sds, secrets: FakeSecrets, token: str, arguments: tuple[str, ...]
) -> None:
    result = sds("secret", "put", token, *arguments, code=2)
    assert CANARY not in result.stdout + result.stderr
    assert secrets.values == {}


def test_whoever_did_it_all_the_same_is_told_what_to_do(sds: Sds, token: str) -> None:
    said = re.sub(r"[│\s]+", " ", sds("secret", "put", token, CANARY, code=2).stderr)
    assert "the process list and the shell's history show it" in said
    assert "choose another" in said
    for verb in ("create", "update"):
        assert CANARY not in sds("secret", verb, token, CANARY, code=2).stderr


def test_a_map(sds: Sds, secrets: FakeSecrets, tmp_path: Path) -> None:
    sds("secret", "create", "db", "--kind", "map")
    (tmp_path / "user").write_text("me")
    fields = ("--field", f"username=@{tmp_path / 'user'}", "--field", "password=@-")
    sds("secret", "put", "db", *fields, stdin=CANARY)
    assert last(secrets, "db") == {"username": b"me", "password": CANARY.encode()}


def test_a_certificate(sds: Sds, secrets: FakeSecrets, tmp_path: Path) -> None:
    now = SystemClock().now()
    life = {"before": now - timedelta(hours=1), "after": now + timedelta(days=1)}
    holder, other = (pki.make("gw.example.org", ca=False, **life) for _ in range(2))
    (tmp_path / "chain.pem").write_bytes(holder.pem)
    (tmp_path / "key.pem").write_bytes(holder.key_pem)
    (tmp_path / "other.pem").write_bytes(other.key_pem)
    sds("secret", "create", "gw", "--kind", "certificate")
    pair = ("--chain", str(tmp_path / "chain.pem"), "--key")
    sds("secret", "put", "gw", *pair, str(tmp_path / "key.pem"))
    assert last(secrets, "gw") == {"chain": holder.pem, "private_key": holder.key_pem}
    refused = sds("secret", "put", "gw", *pair, str(tmp_path / "other.pem"), code=1).stderr
    assert "fields:" in refused
    assert "PRIVATE KEY" not in refused
    sds("secret", "create", "roots", "--kind", "ca_bundle")
    root = pki.make("root", **life)
    sds("secret", "put", "roots", "-", stdin=root.pem.decode())
    assert last(secrets, "roots") == {"ca": root.pem}


@pytest.mark.parametrize(
    ("kind", "arguments", "advice"),
    [
        ("generic", ("--field", "a=@x"), "--file FILE"),
        ("generic", ("--chain", "x", "--key", "y"), "--file FILE"),
        ("map", ("--file", "x"), "--field NAME=@FILE"),
        ("map", (), "--field NAME=@FILE"),
        ("certificate", ("--chain", "x"), "--chain FILE and --key FILE"),
        ("certificate", (), "--chain FILE and --key FILE"),
        ("ca_bundle", (), "--file FILE"),
        ("tickets", ("-",), "--field NAME=@FILE"),
    ],
)
def test_what_does_not_fit_the_kind(
    sds: Sds, secrets: FakeSecrets, kind: str, arguments: tuple[str, ...], advice: str
) -> None:
    sds("secret", "create", "s", "--kind", kind)
    assert advice in sds("secret", "put", "s", *arguments, code=2, stdin=CANARY).stderr
    assert secrets.values == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--file", "-", "-"),
        ("--field", "a=@-", "--field", "b=@-"),
        ("--field", "a=@-", "--field", "b"),
        ("--field", "a=@x", "--field", "a=@y"),
        ("--field", "a=@"),
        ("--file", "/nonexistent/CANARY"),
    ],
)
def test_one_place_for_each(sds: Sds, secrets: FakeSecrets, token: str, arguments: tuple[str, ...]) -> None:
    sds("secret", "put", token, *arguments, code=2, stdin=CANARY)
    assert secrets.values == {}


def test_an_empty_value_is_none(sds: Sds, secrets: FakeSecrets, token: str) -> None:
    assert "standard input is empty" in sds("secret", "put", token, "-", code=2, stdin="").stderr
    assert "is empty" in sds("secret", "put", token, "-", "--chomp", code=2, stdin="\n").stderr
    assert secrets.values == {}


def test_what_lies_in_vault_is_written_there(sds: Sds, secrets: FakeSecrets) -> None:
    sds("secret", "create", "token", *KV)
    said = sds("secret", "put", "token", "-", code=1, stdin=CANARY).stderr
    assert "vault kv put -mount=secret apps/orders" in said
    assert "sds secret refresh" in said
    sds("secret", "create", "db", "--from", "database", "--role", "r")
    assert "nobody writes them" in sds("secret", "put", "db", "--field", "a=@x", code=1).stderr


def test_put_compares_versions(sds: Sds, token: str) -> None:
    sds("secret", "put", token, "-", "--if-version", "0", stdin="1")
    sds("secret", "put", token, "-", "--if-version", "0", stdin="2", code=4)
    sds("secret", "put", token, "-", "--if-version", "1", stdin="2")


def test_nothing_of_a_value_is_told_even_verbosely(sds: Sds, token: str) -> None:
    result = sds("secret", "put", token, "-", "--verbose", stdin=CANARY)
    assert f"PUT /v1/secrets/{token.replace('/', '%2F')}:value: 200" in result.stderr
    assert CANARY not in result.stdout + result.stderr


def test_the_process_list_shows_no_value(sds: Sds, secrets: FakeSecrets, token: str) -> None:
    """While it waits for standard input, and with all of its environment."""
    process = sds.start("secret", "put", token, "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(CANARY.encode())
    process.stdin.flush()
    seen = Path(f"/proc/{process.pid}/cmdline").read_bytes() + Path(f"/proc/{process.pid}/environ").read_bytes()
    assert CANARY.encode() not in seen
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert CANARY.encode() not in out + err
    assert last(secrets, token) == {"": CANARY.encode()}


# The prompt


class Terminal:
    """A command at a terminal: what it shows, and typing when it asks."""

    def __init__(self, sds: Sds, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [SDS, *arguments],
            env={**CLEAN, "TERM": "dumb", "COLUMNS": "200", "SDS_ADMIN_SOCKET": str(sds.socket)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.shown = b""

    def answer(self, question: bytes, answer: bytes) -> None:
        start = len(self.shown)
        self._until(lambda: question in self.shown[start:])
        os.write(self._ours, answer)

    def end(self) -> int:
        self._until(lambda: False)
        os.close(self._ours)
        return self._process.wait(30)

    def _until(self, done: Any) -> None:
        deadline = time.monotonic() + 60
        while not done():
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self.shown
            try:
                part = os.read(self._ours, 65536)
            except OSError:  # the other side has closed
                return
            self.shown += part


def test_typed_twice_and_never_shown(sds: Sds, secrets: FakeSecrets, token: str) -> None:
    at = Terminal(sds, "secret", "put", token)
    at.answer(b"Value (not shown): ", CANARY.encode() + b"\n")
    at.answer(b"Once more: ", CANARY.encode() + b"\n")
    assert at.end() == 0
    assert CANARY.encode() not in at.shown
    assert b"Wrote version 1" in at.shown
    assert last(secrets, token) == {"": CANARY.encode()}


def test_typed_differently_nothing_is_written(sds: Sds, secrets: FakeSecrets, token: str) -> None:
    at = Terminal(sds, "secret", "put", token)
    at.answer(b"Value (not shown): ", CANARY.encode() + b"\n")
    at.answer(b"Once more: ", b"another\n")
    assert at.end() == 1
    assert b"the two differ; nothing was written" in at.shown
    assert secrets.values == {}


def test_nothing_typed_nothing_is_written(sds: Sds, secrets: FakeSecrets, token: str) -> None:
    at = Terminal(sds, "secret", "put", token)
    at.answer(b"Value (not shown): ", b"\n")
    assert at.end() == 1
    assert secrets.values == {}


def test_a_field_is_asked_for_by_its_name(sds: Sds, secrets: FakeSecrets, tmp_path: Path) -> None:
    sds("secret", "create", "db", "--kind", "map")
    (tmp_path / "user").write_text("me")
    at = Terminal(sds, "secret", "put", "db", "--field", f"username=@{tmp_path / 'user'}", "--field", "password")
    at.answer(b"Field password (not shown): ", CANARY.encode() + b"\n")
    at.answer(b"Once more: ", CANARY.encode() + b"\n")
    assert at.end() == 0
    assert CANARY.encode() not in at.shown
    assert last(secrets, "db") == {"username": b"me", "password": CANARY.encode()}


def test_nobody_is_asked_without_a_terminal(sds: Sds, secrets: FakeSecrets, token: str) -> None:
    assert "there is no terminal" in sds("secret", "put", token, code=2, stdin=CANARY).stderr
    assert secrets.values == {}


# What stands


def test_versions_and_rollback(sds: Sds, secrets: FakeSecrets, token: str) -> None:
    assert "There is none yet." in sds("secret", "versions", token).stderr
    for text in "ab":
        sds("secret", "put", token, "-", stdin=text)
    secrets.states[token] = SecretState("2")
    assert "pinned 1" in sds("secret", "rollback", token, "1").stdout
    lines = sds("secret", "versions", token).stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["2", "live"], ["1", "live"]]
    assert lines[1].endswith("in use")
    assert lines[2].endswith("pinned")
    assert "stays in use" in sds("secret", "put", token, "-", stdin="c").stderr
    assert sds.json("secret", "rollback", token, "latest")["pinned"] is None
    sds("secret", "rollback", token, "9", code=1)
    for bad in ("0", "-1", "x", "1.5", "9" * 30, "²"):
        sds("secret", "rollback", token, "--", bad, code=2)


def test_versions_that_vault_has(sds: Sds, secrets: FakeSecrets) -> None:
    sds("secret", "create", "token", *KV)
    secrets.sources["token"] = (VersionInfo("2"), VersionInfo("1", state="destroyed"))
    assert [each["state"] for each in sds.json("secret", "versions", "token")["versions"]] == ["live", "destroyed"]
    assert "destroyed" in sds("secret", "rollback", "token", "1", code=1).stderr


def test_refresh(sds: Sds, secrets: FakeSecrets, token: str) -> None:
    sds("secret", "refresh", token)
    now = SystemClock().now()
    secrets.answers[token] = SecretState("3", now, now, None, "permission denied", "denied", now)
    result = sds("secret", "refresh", token, code=1)
    assert "permission denied" in result.stdout
    assert "no good value was had: permission denied" in result.stderr
    assert "Version 3 stays in use." in result.stderr
    failed = sds("secret", "refresh", token, "--output", "json", code=1)
    assert json.loads(failed.stdout)["state"]["problem_code"] == "denied"
    assert json.loads(failed.stderr)["exit_code"] == 1


def test_delete_and_its_dry_run(sds: Sds, secrets: FakeSecrets, token: str, make: Any) -> None:
    make("web")
    sds("grant", "create", token, "--to", "spiffe://example.org/web")
    sds("secret", "put", token, "-", stdin=CANARY)
    planned = sds("secret", "delete", token, "--dry-run").stdout
    assert f"Would delete secret {token}, 1 grant of it and 1 stored version of its value." in planned
    assert "spiffe://example.org/web" in planned
    assert "nothing was changed" in planned
    sds("secret", "delete", token, "--revision", "7", code=4)
    assert "1 entry lost it" in sds("secret", "delete", token).stdout
    sds("secret", "delete", token, code=3)

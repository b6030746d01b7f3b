"""sds secret put: values that no command line and no answer has."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from sds.clock import SystemClock
from tests.fakes import pki
from tests.fakes.admin_secrets import FakeSecrets
from tests.unit.cli.conftest import Sds
from tests.unit.cli.secret.conftest import CANARY, KV, last


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

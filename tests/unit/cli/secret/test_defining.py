"""sds secret over a fake server: what is defined, and how it stands."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from sds.clock import SystemClock
from sds.secrets.secret import SecretState, VersionInfo
from tests.fakes.admin_secrets import FakeSecrets
from tests.unit.cli.conftest import Sds
from tests.unit.cli.secret.conftest import CANARY, KV


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

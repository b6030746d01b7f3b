"""sds entry apply."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.admin_server import Running
from tests.unit.cli.conftest import Sds

Make = Callable[..., Any]
PARENT = "spiffe://example.org/sds/agent/one"


def wanted(name: str, **more: Any) -> dict[str, Any]:
    return {
        "spiffe_id": f"spiffe://example.org/{name}",
        "parent_id": PARENT,
        "selectors": ["unix:uid:1000"],
        **more,
    }


TOML = f"""
[[entries]]
spiffe_id = "spiffe://example.org/web"
parent_id = "{PARENT}"
selectors = ["unix:uid:1000"]
x509_ttl = "30m"
expires_at = 2030-01-01T00:00:00Z
labels = {{team = "a"}}

[[entries]]
spiffe_id = "spiffe://example.org/db"
parent_id = "{PARENT}"
selectors = ["unix:uid:1000"]
x509_ttl = 1800
"""
ENTRIES = [
    wanted("web", x509_ttl="30m", expires_at="2030-01-01T00:00:00Z", labels={"team": "a"}),
    wanted("db", x509_ttl=1800),
]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("e.toml", TOML),
        ("e", TOML),
        ("e.json", json.dumps(ENTRIES)),
        ("e.json", json.dumps({"entries": ENTRIES}, indent=2)),
        ("e.json", "\ufeff" + json.dumps(ENTRIES)),
        ("e", json.dumps(ENTRIES)),
        ("e.jsonl", "\n".join(map(json.dumps, ENTRIES)) + "\n\n"),
        ("-", "\n".join(map(json.dumps, ENTRIES))),
        ("-", json.dumps({"entries": ENTRIES})),
        ("-", TOML),
    ],
)
def test_formats(sds: Sds, running: Running, tmp_path: Path, name: str, content: str) -> None:
    stdin = content if name == "-" else None
    path = "-"
    if stdin is None:
        (tmp_path / name).write_text(content)
        path = str(tmp_path / name)
    answer = sds.json("entry", "apply", "-f", path, stdin=stdin)
    assert [each["action"] for each in answer["changes"]] == ["create", "create"]
    entries = [each["entry"] for each in answer["changes"]]
    assert [each["x509_ttl"] for each in entries] == [1800, 1800]
    assert entries[0]["expires_at"] == "2030-01-01T00:00:00Z"
    again = sds.json("entry", "apply", "-f", path, stdin=stdin)
    assert [each["action"] for each in again["changes"]] == ["unchanged", "unchanged"]
    assert len(running.fakes.entries.rows) == 2


def test_one_object_is_one_entry(sds: Sds) -> None:
    answer = sds.json("entry", "apply", "-f", "-", stdin=json.dumps(wanted("one")))
    assert [each["action"] for each in answer["changes"]] == ["create"]


def test_what_list_gives_can_be_applied(sds: Sds, make: Make) -> None:
    make("a", "--x509-ttl", "1h")
    make("b")
    listed = sds("entry", "list", "--output", "json").stdout
    edited = listed.replace("3600", '"2h"')
    changes = sds.json("entry", "apply", "-f", "-", stdin=edited)["changes"]
    assert [each["action"] for each in changes] == ["update", "unchanged"]
    sds("entry", "apply", "-f", "-", stdin=listed, code=4)  # its revision is an old one now


def test_table_and_summary(sds: Sds, make: Make) -> None:
    make("changed", "--x509-ttl", "1h")
    make("same")
    content = json.dumps([wanted("new"), wanted("changed", x509_ttl="30m", owner="me"), wanted("same")])
    dry = sds("entry", "apply", "-f", "-", "--dry-run", stdin=content).stdout
    lines = dry.splitlines()
    assert lines[0].split() == ["ACTION", "SPIFFE", "ID", "PARENT", "SELECTORS", "CHANGES"]
    assert [line.split()[0] for line in lines[1:4]] == ["create", "update", "unchanged"]
    assert lines[2].endswith("x509_ttl: 1h -> 30m; owner: none -> me")
    assert lines[4] == "Dry run, nothing is changed; would be: 1 created, 1 updated, 1 unchanged, 0 deleted."
    done = sds("entry", "apply", "-f", "-", stdin=content).stdout
    assert done.splitlines()[-1] == "1 created, 1 updated, 1 unchanged, 0 deleted."


def test_dry_run_exit_codes(sds: Sds, make: Make) -> None:
    make("same")
    same, new = json.dumps(wanted("same")), json.dumps(wanted("new"))
    run = ("entry", "apply", "-f", "-", "--dry-run")
    sds(*run, stdin=new)
    sds(*run, "--exit-code", stdin=new, code=7)
    sds(*run, "--exit-code", stdin=same)
    sds("entry", "apply", "-f", "-", "--exit-code", stdin=new)  # without --dry-run it is done, and that is success


def test_prune(sds: Sds, make: Make) -> None:
    make("mine", "--owner", "me")
    make("gone", "--owner", "me")
    make("theirs", "--owner", "them")
    content = json.dumps(wanted("mine", owner="me"))
    changes = sds.json("entry", "apply", "-f", "-", "--prune", "--owner", "me", stdin=content)["changes"]
    assert [(each["action"], each["spiffe_id"][-4:]) for each in changes] == [("unchanged", "mine"), ("delete", "gone")]
    text = sds("entry", "apply", "-f", "-", "--prune", "--all", stdin=content).stdout
    assert "0 created, 0 updated, 1 unchanged, 1 deleted." in text


@pytest.mark.parametrize(
    "flags", [["--prune"], ["--owner", "me"], ["--all"], ["--prune", "--all", "--owner", "me"], ["--label", "a=b"]]
)
def test_prune_needs_a_clear_scope(sds: Sds, make: Make, flags: list[str]) -> None:
    make()
    sds("entry", "apply", "-f", "-", *flags, stdin="[]", code=2)
    assert len(sds.json("entry", "list")["entries"]) == 1


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("e.json", b"{", "is not JSON (line 1"),
        ("e.json", b'{"a": 1, "a": 2}', "same key twice"),
        ("e.json", b"[" * 200_000, "nested too deeply"),
        ("e.json", b"\xff\xfe", "is not UTF-8 (byte 0)"),
        ("e.json", b"1", "holds no entries"),
        ("e.json", b"{}", "holds no entries"),
        ("e.json", b'{"entries": 1}', "holds no entries"),
        ("e.json", b'{"entries": [], "CANARY_LESS": 1}', "unknown key CANARY_LESS"),
        ("e.jsonl", b'{"a": 1}\n{"CANARY', "line 2: it is not JSON"),
        ("e.toml", b"a = 1\nCANARY = nothing", "is not TOML (at line 2"),
        ("e.toml", b"a = [" * 5000, "is not TOML"),
        ("e.toml", b"", "holds no entries"),
    ],
)
def test_bad_files(sds: Sds, tmp_path: Path, name: str, content: bytes, told: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    result = sds("entry", "apply", "-f", str(path), code=2)
    assert told in result.stderr
    assert "CANARY " not in result.stderr.replace("CANARY_LESS ", "")


def test_unreadable_files(sds: Sds, tmp_path: Path) -> None:
    assert "No such file" in sds("entry", "apply", "-f", str(tmp_path / "none.toml"), code=2).stderr
    assert "directory" in sds("entry", "apply", "-f", str(tmp_path), code=2).stderr


def test_problems_say_where_in_the_file(sds: Sds, tmp_path: Path) -> None:
    lines = [json.dumps(wanted("a")), "", json.dumps({**wanted("b"), "hint": 1, "bogus": 2}), "3"]
    path = tmp_path / "e.jsonl"
    path.write_text("\n".join(lines))
    result = sds("entry", "apply", "-f", str(path), code=1)
    assert (
        "  line 3: hint: must be a string\n  line 3: bogus: is not a known key\n  line 4: must be an obj"
        in result.stderr
    )
    assert sds.json("entry", "list") == {"entries": []}
    path = tmp_path / "e.json"
    path.write_text(json.dumps([wanted("a"), {**wanted("b"), "selectors": []}]))
    assert "  entry 2: selectors: at least one" in sds("entry", "apply", "-f", str(path), code=1).stderr

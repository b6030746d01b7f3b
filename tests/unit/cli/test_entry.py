"""sds entry."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sds.clock import SystemClock
from tests.fakes.admin_server import Running
from tests.unit.cli.conftest import Sds

Make = Callable[..., Any]
PARENT = "spiffe://example.org/sds/agent/one"
CREATE = ["entry", "create", "--spiffe-id", "spiffe://example.org/web", "--parent-id", PARENT]


def test_create_with_every_flag(sds: Sds) -> None:
    entry = sds.json(
        *CREATE, "--selector", "unix:uid:1000", "--selector", "unix:gid:5", "--dns", "a.example.org", "--dns",
        "b.example.org", "--x509-ttl", "1h30m", "--owner", "me", "--label", "k=v", "--label", "empty=",
        "--hint", "default", "--expires-at", "2030-01-01T00:00:00+01:00", "--profile", "gateway",
        "--san", "ip:10.0.0.1", "--san", "email:ops@example.org", "--subject", "CN=a.example.org", "--jwt-ttl", "5m",
        "--federates-with", "b.example", "--federates-with", "a.example",
    )  # fmt: skip
    assert {key: entry[key] for key in entry if key not in ("id", "created_at", "updated_at")} == {
        "revision": 1,
        "spiffe_id": "spiffe://example.org/web",
        "parent_id": PARENT,
        "selectors": ["unix:gid:5", "unix:uid:1000"],
        "x509_ttl": 5400,
        "dns_names": ["a.example.org", "b.example.org"],
        "hint": "default",
        "owner": "me",
        "labels": {"empty": "", "k": "v"},
        "expires_at": "2029-12-31T23:00:00Z",
        "jwt_ttl": 300,
        "federates_with": ["a.example", "b.example"],
        "profile": "gateway",
        "extra_sans": ["ip:10.0.0.1", "email:ops@example.org"],
        "subject": "CN=a.example.org",
    }


def test_create_again_is_the_same_entry(make: Make) -> None:
    assert make() == make()


def test_create_as_table(sds: Sds) -> None:
    text = sds(*CREATE, "--selector", "unix:uid:1000", "--x509-ttl", "3600").stdout
    assert "X.509 TTL       1h\n" in text
    assert "Profile         default\n" in text
    assert "Revision        1\n" in text
    assert "Created         0s ago (20" in text
    assert "\x1b" not in text


def test_create_of_the_same_key_with_other_values(sds: Sds, make: Make) -> None:
    entry = make()
    result = sds(*CREATE, "--selector", "unix:uid:1000", "--hint", "other", code=4)
    assert result.stdout == ""
    assert f"entry {entry['id']} already has this SPIFFE ID" in result.stderr
    assert "sds entry show" in result.stderr


def test_all_problems_are_told(sds: Sds) -> None:
    result = sds(
        "entry", "create", "--spiffe-id", "http://x", "--parent-id", "spiffe://other/x", "--selector", "nonsense",
        "--dns", "server.sds.internal", code=1,
    )  # fmt: skip
    for field in ("spiffe_id: ", "parent_id: ", "selectors[0]: ", "dns_names: "):
        assert f"  {field}" in result.stderr
    problem = json.loads(
        sds("entry", "create", "--spiffe-id", "x", "--parent-id", "y", "--selector", "z", "-o", "json", code=1).stderr
    )
    assert (problem["status"], problem["exit_code"]) == (422, 1)
    assert [each["field"] for each in problem["problems"]] == ["spiffe_id", "parent_id", "selectors[0]"]


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--selector", "unix:uid:1", "--x509-ttl", "soon"],
        ["--selector", "unix:uid:1", "--label", "novalue"],
        ["--selector", "unix:uid:1", "--label", "a=1", "--label", "a=2"],
        ["--selector", "unix:uid:1", "--expires-at", "tomorrow"],
        ["--selector", "unix:uid:1", "--expires-at", "2030-01-01T00:00:00"],
        ["--selector", "unix:uid:1", "--no-such-flag"],
        ["--selector", "unix:uid:1", "--output", "yaml"],
        ["--selector", "unix:uid:1", "stray"],
    ],
)
def test_usage(sds: Sds, running: Running, flags: list[str]) -> None:
    sds(*CREATE, *flags, code=2)
    assert running.fakes.audit.rows == []


def test_list(sds: Sds, make: Make) -> None:
    empty = sds("entry", "list")
    assert (empty.stdout, empty.stderr) == ("", "There are no entries; `sds entry create` makes one.\n")
    entries = [make(f"w{number}", "--owner", "me" if number else "you") for number in range(3)]
    lines = sds("entry", "list").stdout.splitlines()
    assert lines[0].split() == ["ID", "REVISION", "SPIFFE", "ID", "PARENT", "SELECTORS", "PROFILE", "TTL", "OWNER"]
    assert [line.split()[0] for line in lines[1:]] == [each["id"] for each in entries]
    assert sds.json("entry", "list") == {"entries": entries}
    assert sds.json("entry", "list", "--owner", "me", "--limit", "1") == {"entries": entries[1:2]}
    assert sds.json("entry", "list", "--spiffe-id", "spiffe://example.org/w0") == {"entries": entries[:1]}
    assert sds.json("entry", "list", "--label", "no=label") == {"entries": []}
    gateway = make("gateway", "--profile", "gateway")
    assert sds.json("entry", "list", "--profile", "gateway") == {"entries": [gateway]}
    assert sds.json("entry", "list", "--profile", "default") == {"entries": entries}


def test_list_reads_all_pages(sds: Sds, running: Running, make: Make) -> None:
    entry = make()
    standing = next(iter(running.fakes.entries.rows.values()))
    running.fakes.entries.rows = {f"e{number}": standing for number in range(1234)}
    assert len(sds.json("entry", "list")["entries"]) == 1234
    assert len(sds.json("entry", "list", "--limit", "501")["entries"]) == 501
    assert entry["revision"] == 1


def test_a_wide_table_is_not_cut(sds: Sds, make: Make) -> None:
    make("x" * 300, "--selector", "unix:path:/" + "y" * 300)
    assert "y" * 300 in sds("entry", "list").stdout


def test_show(sds: Sds, make: Make) -> None:
    entry = make()
    assert sds.json("entry", "show", entry["id"]) == entry
    assert entry["id"] in sds("entry", "show", entry["id"]).stdout


@pytest.mark.parametrize("entry_id", ["unknown", "../agents", "a/b", "", "a b", "\x1b[31m", "%2e%2e", "?x=1", "#"])
def test_what_is_not_there(sds: Sds, entry_id: str) -> None:
    for command in (["show"], ["delete"], ["update", "--owner", "x"]):
        result = sds("entry", *command, "--", entry_id, code=3)
        assert "\x1b" not in result.stderr


def test_update_changes_only_what_is_given(sds: Sds, make: Make) -> None:
    entry = make("web", "--owner", "me", "--label", "k=v", "--x509-ttl", "1h", "--dns", "a.example.org")
    path = ("entry", "update", entry["id"])
    updated = sds.json(*path, "--hint", "h")
    assert updated == {**entry, "hint": "h", "revision": 2, "updated_at": updated["updated_at"]}
    assert sds.json(*path, "--dns", "")["dns_names"] == []
    profiled = sds.json(*path, "--profile", "gateway", "--san", "ip:10.0.0.1", "--subject", "CN=web", "--jwt-ttl", "1m")
    assert (profiled["profile"], profiled["extra_sans"], profiled["subject"]) == ("gateway", ["ip:10.0.0.1"], "CN=web")
    assert "extra_sans: " in sds(*path, "--profile", "default", code=1).stderr
    plain = sds.json(*path, "--profile", "default", "--san", "", "--subject", "", "--jwt-ttl", "default")
    assert (plain["profile"], plain["extra_sans"], plain["subject"], plain["jwt_ttl"]) == ("", [], "", None)
    assert sds.json(*path, "--label", "")["labels"] == {}
    assert sds.json(*path, "--x509-ttl", "default")["x509_ttl"] is None
    assert sds.json(*path, "--owner", "")["owner"] == ""
    assert sds.json(*path, "--expires-at", "2030-01-01T00:00:00Z")["expires_at"] == "2030-01-01T00:00:00Z"
    assert sds.json(*path, "--expires-at", "never")["expires_at"] is None
    assert sds.json(*path, "--selector", "unix:uid:7")["selectors"] == ["unix:uid:7"]
    assert sds.json(*path, "--parent-id", "spiffe://example.org/sds/agent/two")["revision"] == 12
    sds(*path, code=2)


def test_update_compares_the_revision(sds: Sds, make: Make) -> None:
    entry = make()
    assert sds.json("entry", "update", entry["id"], "--owner", "a", "--revision", "1")["revision"] == 2
    result = sds("entry", "update", entry["id"], "--owner", "b", "--revision", "1", code=4)
    assert "is at 2 now" in result.stderr
    sds("entry", "delete", entry["id"], "--revision", "1", code=4)
    sds("entry", "delete", entry["id"], "--revision", "2")


def test_delete_says_when_the_last_certificate_expires(sds: Sds, running: Running, make: Make) -> None:
    entry = make()
    when = SystemClock().now().replace(microsecond=0) + timedelta(minutes=59, seconds=30)
    running.fakes.entries.expires[entry["id"]] = when
    text = sds("entry", "delete", entry["id"]).stdout
    assert "expires in 59m" in text
    assert f"({when:%Y-%m-%dT%H:%M:%SZ})" in text
    entry = make()
    assert sds.json("entry", "delete", entry["id"]) == {
        "entry": entry,
        "last_certificate_expires_at": None,
        "dry_run": False,
        "blast_radius": None,
    }
    entry = make()
    assert "No certificate issued under it is still valid" in sds("entry", "delete", entry["id"]).stdout


def test_verbose_names_the_call_and_no_body(sds: Sds, make: Make) -> None:
    entry = make("web", "--owner", "CANARY")
    result = sds("entry", "update", entry["id"], "--owner", "CANARY2", "--verbose")
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"GET /v1/entries/{entry['id']}: 200 in ")
    assert lines[1].startswith(f"PUT /v1/entries/{entry['id']}: 200 in ")
    assert "CANARY" not in result.stderr


def test_text_from_elsewhere_cannot_reach_the_terminal(sds: Sds, running: Running, make: Make) -> None:
    entry = make()
    row = running.fakes.entries.rows[entry["id"]]
    object.__setattr__(row.spec, "owner", "a\x1b[2Jb\nc[red]d[/red]")
    for command in (["list"], ["show", entry["id"]]):
        text = sds("entry", *command).stdout
        assert "a\\x1b[2Jb\\nc[red]d[/red]" in text


def test_a_dry_run_of_a_deletion_says_what_it_would_hit_and_does_nothing(sds: Sds, make: Make) -> None:
    entry = make()
    text = sds("entry", "delete", entry["id"], "--dry-run").stdout
    assert text.startswith(f"Would         delete entry {entry['id']} of spiffe://example.org/web\n")
    assert "Certificates" in text and "This was a dry run: nothing was changed." in text
    told = sds.json("entry", "delete", entry["id"], "--dry-run")
    assert told["dry_run"] is True and told["blast_radius"]["certificates_total"] >= 0
    assert sds.json("entry", "show", entry["id"]) == entry
    sds("entry", "delete", entry["id"], "--dry-run", "--revision", "7", code=4)


# ----------------------------------------------------------------------------------------------------- import, export


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_what_is_exported_can_be_imported(sds: Sds, running: Running, make: Make, tmp_path: Path, form: str) -> None:
    make("web", "--owner", "=cmd()", "--dns", "web.example.org", "--label", "env=prod", "--selector", "unix:path:/a b")
    make("other")
    path = tmp_path / f"entries.{form}"
    sds("entry", "export", "--format", form, "--file", str(path))
    assert sds("entry", "export", "--format", form).stdout_bytes == path.read_bytes()
    before = {each["spiffe_id"]: each for each in sds.json("entry", "list")["entries"]}
    same = sds.json("entry", "import", str(path))
    assert [each["action"] for each in same["changes"]] == ["unchanged", "unchanged"]
    running.fakes.entries.rows.clear()
    planned = sds.json("entry", "import", str(path), "--dry-run")
    assert (planned["dry_run"], sds.json("entry", "list")["entries"]) == (True, [])
    assert "2 created" in sds("entry", "import", "-", "--format", form, stdin=path.read_bytes().decode()).stdout
    after = {each["spiffe_id"]: each for each in sds.json("entry", "list")["entries"]}
    assert after.keys() == before.keys()
    for name, entry in after.items():
        for field in ("parent_id", "selectors", "owner", "labels", "dns_names"):
            assert entry[field] == before[name][field]


def test_an_import_that_is_refused_says_in_which_line(sds: Sds, tmp_path: Path) -> None:
    path = tmp_path / "entries.jsonl"
    good = '{"spiffe_id": "spiffe://example.org/a", "parent_id": "spiffe://example.org/b", "selectors": ["unix:uid:1"]}'
    path.write_text(f'{good}\n\n{{"spiffe_id": "hunter2"}}\n')
    done = sds("entry", "import", str(path), code=1)
    assert "  line 3: spiffe_id: " in done.stderr
    assert "hunter2" not in done.stderr
    assert sds.json("entry", "list")["entries"] == []
    path.write_text(f"{good}\nno json\n")
    assert "  line 2: " in sds("entry", "import", str(path), code=1).stderr
    sds("entry", "import", str(tmp_path / "none"), code=2)


def test_an_export_is_narrowed(sds: Sds, make: Make) -> None:
    make("web", "--owner", "a")
    make("other", "--owner", "b")
    assert len(sds("entry", "export", "--owner", "a").stdout.splitlines()) == 1
    assert len(sds("entry", "export", "--below", "spiffe://example.org/web").stdout.splitlines()) == 1

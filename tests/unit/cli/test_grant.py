"""sds grant over a fake server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.conftest import Sds

WEB = "spiffe://example.org/web"


@pytest.fixture
def token(sds: Sds) -> str:
    sds("secret", "create", "token")
    return "token"


@pytest.mark.parametrize(
    ("arguments", "to"),
    [
        (("--to", WEB), WEB),
        (("--below", "spiffe://example.org"), "spiffe://example.org and below"),
        (("--label", "env=prod", "--label", "app=web"), "entries with app=web, env=prod"),
    ],
)
def test_create(sds: Sds, make: Any, token: str, arguments: tuple[str, ...], to: str) -> None:
    make("web", "--label", "env=prod", "--label", "app=web")
    shown = sds("grant", "create", token, *arguments).stdout
    assert f"{token} to {to}." in shown
    assert "1 entry may have it now." in shown
    first = sds.json("grant", "create", token, *arguments)
    assert first["entries"] == 1
    assert [each["id"] for each in sds.json("grant", "list")["grants"]] == [first["id"]], "nothing is granted twice"
    assert to in sds("secret", "show", token).stdout


def test_a_grant_that_reaches_nobody_says_so(sds: Sds, token: str) -> None:
    assert "No entry is reached by it yet." in sds("grant", "create", token, "--to", WEB).stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("--to", WEB, "--below", WEB), 2),
        (("--to", WEB, "--label", "a=b"), 2),
        (("--label", ""), 2),
        (("--label", "x"), 2),
        (("--to", "web"), 1),
        (("--to", "spiffe://other.example/web"), 1),
        (("--below", "spiffe://example.org/sds/agent"), 1),
    ],
)
def test_what_cannot_be_granted(sds: Sds, token: str, arguments: tuple[str, ...], code: int) -> None:
    sds("grant", "create", token, *arguments, code=code)
    assert sds.json("grant", "list") == {"grants": []}


def test_of_a_secret_that_is_not_there(sds: Sds) -> None:
    sds("grant", "create", "nothing", "--to", WEB, code=3)
    sds("grant", "list", "--secret", "nothing", code=3)
    sds("grant", "check", "--secret", "nothing", code=3)


def test_list_and_delete(sds: Sds, make: Any, token: str) -> None:
    assert "nobody has a secret without one" in sds("grant", "list").stderr
    make("web", "--label", "env=prod")
    by_name = sds.json("grant", "create", token, "--to", WEB)["id"]
    by_label = sds.json("grant", "create", token, "--label", "env=prod")["id"]
    other = sds.json("grant", "create", token, "--to", "spiffe://example.org/db")["id"]
    found = [each["id"] for each in sds.json("grant", "list", "--spiffe-id", WEB)["grants"]]
    assert found == [by_name, by_label]
    assert len(sds("grant", "list", "--secret", token).stdout.splitlines()) == 4
    assert "entries with env=prod" in sds("grant", "delete", by_label).stdout
    sds("grant", "delete", by_label, code=3)
    assert [each["id"] for each in sds.json("grant", "list")["grants"]] == [by_name, other]


def test_check_says_who_and_by_which_grant(sds: Sds, make: Any, token: str) -> None:
    entry = make("web")["id"]
    grant = sds.json("grant", "create", token, "--below", WEB)["id"]
    for asked in (("--secret", token), ("--spiffe-id", WEB), ("--entry", entry), ("--secret", token, "--entry", entry)):
        (row,) = sds("grant", "check", *asked).stdout.splitlines()[1:]
        assert [*row.split()[:3], row.split()[-1]] == [token, WEB, entry, f"({grant})"]
    assert "no entry" in sds("grant", "check", "--spiffe-id", WEB + "/admin").stdout


def test_check_answers_a_question_by_its_exit_code(sds: Sds, make: Any, token: str) -> None:
    make("web")
    sds("grant", "create", token, "--below", WEB)
    sds("grant", "check", "--secret", token, "--spiffe-id", WEB)
    denied = sds("grant", "check", "--secret", token, "--spiffe-id", WEB + "site", code=1)
    assert f"{WEB}site is not granted {token}" in denied.stderr
    assert sds.json("grant", "check", "--spiffe-id", WEB + "site") == {"allowed": [], "total": 0}
    for wrong in ((), ("--spiffe-id", WEB, "--entry", "x")):
        sds("grant", "check", *wrong, code=2)


def test_a_dry_run_says_who_would_lose_it(sds: Sds, make: Any, token: str) -> None:
    entry = make("web")
    grant = sds.json("grant", "create", token, "--to", WEB)["id"]
    text = sds("grant", "delete", grant, "--dry-run").stdout
    assert f"Would take back grant {grant}: {token} to {WEB}. 1 entry would lose it." in text
    assert entry["id"] in text
    assert text.endswith("This was a dry run: nothing was changed.\n")
    told = sds.json("grant", "delete", grant, "--dry-run")
    assert (told["dry_run"], told["entries_total"]) == (True, 1)
    assert [each["id"] for each in sds.json("grant", "list")["grants"]] == [grant]

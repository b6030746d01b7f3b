"""sds config, sds db, and what `server run` and `agent run` do with a bad configuration."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Sds

SERVER = """
trust_domain = "example.org"
[database]
url = "postgresql://me:CANARY@db.example/sds"
"""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is part of the configuration."""
    for name in list(os.environ):
        if name.startswith(("SDS_SERVER_", "SDS_AGENT_")):
            monkeypatch.delenv(name)


def written(folder: Path, content: str, name: str = "c.toml") -> str:
    path = folder / name
    path.write_text(content)
    return str(path)


def test_a_right_one(sds: Sds, tmp_path: Path) -> None:
    server = written(tmp_path, SERVER)
    assert sds("config", "check", "--server", server).stdout == "The configuration of the server is right.\n"
    assert sds("config", "check", "--config", server).stdout == "The configuration of the server is right.\n"
    agent = written(tmp_path, 'server = "127.0.0.1:8443"', "a.toml")
    assert "server and of the agent is right" in sds("config", "check", "--server", server, "--agent", agent).stdout
    assert sds.json("config", "check", "--agent", agent) == {"checked": ["agent"], "problems": []}


def test_every_problem_with_its_keys_path(sds: Sds, tmp_path: Path) -> None:
    server = written(tmp_path, 'listen = "CANARY"\nlisten_adress = 1\n[ca]\nkey_type = "CANARY"\n[log]\nlevel = 3')
    agent = written(tmp_path, "[limits]\nmax_streams = 'CANARY'", "a.toml")
    result = sds("config", "check", "--server", server, "--agent", agent, code=6)
    for key in (
        "server: listen: ",
        "server: listen_adress: is not a known key",
        "server: ca.key_type: ",
        "server: log.level: ",
        "server: trust_domain: is required",
        "agent: limits.max_streams: ",
        "agent: server: is required",
    ):
        assert f"  {key}" in result.stderr
    assert "there are 7 problems" in result.stderr
    assert "CANARY" not in result.output
    problem = json.loads(sds("config", "check", "--agent", agent, "--output", "json", code=6).stderr)
    assert (problem["exit_code"], "limits.max_streams" in problem["detail"]) == (6, True)


def test_the_environment_is_checked_too(sds: Sds, tmp_path: Path) -> None:
    server = written(tmp_path, SERVER)
    sds("config", "check", SDS_SERVER_TRUST_DOMAIN="example.org")
    sds("config", "check", SDS_SERVER_CONFIG=server)
    assert "SDS_SERVER_BOGUS" in sds("config", "check", "--server", server, SDS_SERVER_BOGUS="1", code=6).stderr
    assert "of the agent is right" in sds("config", "check", SDS_AGENT_SERVER="127.0.0.1:1").stdout
    result = sds("config", "check", SDS_AGENT_SERVER="127.0.0.1:1", SDS_SERVER_LISTEN="x", code=6)
    assert "server: listen:" in result.stderr


def test_show_masks_secrets(sds: Sds, tmp_path: Path) -> None:
    shown = sds("config", "show", "--server", written(tmp_path, SERVER)).stdout
    assert "database.url" in shown
    assert "CANARY" not in shown
    values = sds.json("config", "show", "--server", written(tmp_path, SERVER))["server"]
    assert values["trust_domain"] == "example.org"
    assert values["ca.default_x509_ttl"] == "1h"
    assert "CANARY" not in json.dumps(values)


def test_a_file_that_is_not_there(sds: Sds, tmp_path: Path) -> None:
    result = sds("config", "check", "--server", str(tmp_path / "none.toml"), code=6)
    assert "cannot be read" in result.stderr


def test_run_lists_what_is_wrong(sds: Sds) -> None:
    result = sds("server", "run", "--listen", "nonsense", "--log-level", "loud", code=6)
    for key in ("listen: ", "log.level: ", "trust_domain: is required"):
        assert f"  {key}" in result.stderr
    result = sds("agent", "run", "--socket", "x" * 300, code=6)
    for key in ("server: is required", "socket: "):
        assert f"  {key}" in result.stderr


def test_db_upgrade_and_status(sds: Sds, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    where = ("--data-dir", str(folder))
    assert "run `sds db upgrade`" in sds("db", "status", *where, code=1).stdout
    first = sds.json("db", "upgrade", *where)
    assert (first["from"], first["changed"]) == (None, True)
    assert sds.json("db", "upgrade", *where) == {"from": first["to"], "to": first["to"], "changed": False}
    assert "nothing to do" in sds("db", "upgrade", *where).stdout
    assert sds.json("db", "status", *where)["current"] is True
    database = folder / "sds.sqlite3"
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    by_url = sds.json("db", "status", "--database-url", f"sqlite:///{database}")
    assert by_url["found"] == first["to"]


def test_db_that_cannot_be_reached(sds: Sds, tmp_path: Path) -> None:
    url = "postgresql://me:CANARY@127.0.0.1:1/sds"
    result = sds("db", "status", "--database-url", url, code=1)
    assert "cannot be reached" in result.stderr
    assert "CANARY" not in result.output
    result = sds("db", "upgrade", "--database-url", "mysql://me:CANARY@x/y", code=6)
    assert "database.url" in result.stderr
    assert "CANARY" not in result.output
    plain = tmp_path / "plain"
    plain.write_bytes(b"not a database" * 1000)
    sds("db", "upgrade", "--database-url", f"sqlite:///{plain}", code=1)

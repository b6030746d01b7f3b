"""The parts of a file sink: what is rendered, what is written and where, what is run afterwards."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ca.masked import Masked
from sds.agent.sinks import command
from sds.agent.sinks.command import CommandFailed
from sds.agent.sinks.file import FilePlace, SinkUnusable
from sds.agent.sinks.template import Field, RenderFailed, Template
from sds.config import load_agent_config
from sds.config.problems import ConfigError
from sds.secrets.secret import SecretKind, SecretValue

CANARY = "canary-of-a-file"
VALUES = {
    "db": SecretValue(SecretKind.MAP, "1", (("user", Masked(b"u")), ("password", Masked(CANARY.encode())))),
    "token": SecretValue(SecretKind.GENERIC, "1", (("", Masked(b"t")),)),
    "raw": SecretValue(SecretKind.GENERIC, "1", (("", Masked(b"\xff" + CANARY.encode())),)),
}


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on a tmpfs."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="sds-sink-") as folder:
        yield Path(folder)


def test_a_template_sees_fields_and_nothing_else() -> None:
    text = 'user={{ secrets["db"].user }} password={{ secrets.db.password }} token={{ secrets.token.value }}\n'
    values = {name: VALUES[name] for name in ("db", "token")}
    assert Template(text).render(values).reveal().decode() == f"user=u password={CANARY} token=t\n"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{ secrets.db.nope }}", "not there"),
        ("{{ secrets.nope.value }}", "not there"),
        ("{{ secrets.db.password.encode(secrets.db.password) }}", "LookupError"),
        ("{{ (secrets.db.password ~ 'x') | fromjson }}", "is no template"),
        ("{{ secrets.db.__class__.__mro__ }}", "cannot be filled in"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "cannot be filled in"),
        ("{% include '/etc/passwd' %}", "cannot be filled in"),
        ("{{ secrets.db.update(user='x') }}", "cannot be filled in"),
        ("{% for i in range(10000000) %}x{% endfor %}", "cannot be filled in"),
        ("{{ 'x' * 9999999 }}", "characters"),
        ("{{ secrets.raw.value }}", "no UTF-8"),
        ("{{ 1 / 0 ~ secrets.db.password }}", "ZeroDivisionError"),
        ("{% if %}", "is no template"),
    ],
)
def test_a_template_that_cannot_be_filled_in(source: str, problem: str) -> None:
    values = VALUES if "raw" in source else {name: VALUES[name] for name in ("db", "token")}
    with pytest.raises(RenderFailed, match=problem) as caught:
        Template(source).render(values)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_one_field_as_it_is() -> None:
    assert Field("raw", "").render(VALUES).reveal() == b"\xff" + CANARY.encode()
    with pytest.raises(RenderFailed, match="has no field 'x'; it has user, password") as caught:
        Field("db", "x").render(VALUES)
    assert CANARY not in str(caught.value)


def test_a_file_is_written_whole_for_its_owner(memory: Path) -> None:
    place = FilePlace(memory / "secret", mode=0o640)
    assert place.write(Masked(b"one"))
    assert not place.write(Masked(b"one")), "the same is not written again"
    before = place.path.stat()
    assert place.write(Masked(b"other"))
    assert place.path.read_bytes() == b"other"
    assert place.path.stat().st_ino != before.st_ino, "readers of the former file read it to its end"
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o640
    assert [one.name for one in memory.iterdir()] == ["secret"]
    place.path.chmod(0o666)
    assert place.write(Masked(b"other")), "somebody changed the mode"
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o640
    assert place.remove()
    assert not place.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_belongs_to_whom_it_is_for(memory: Path) -> None:
    place = FilePlace(memory / "secret", uid=65534, gid=65534)
    assert place.write(Masked(b"one"))
    found = place.path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (65534, 65534, 0o600)
    assert not place.write(Masked(b"one"))


def test_a_link_in_its_place_is_replaced_and_not_followed(memory: Path) -> None:
    target = memory / "target"
    target.write_text("precious")
    place = FilePlace(memory / "secret")
    place.path.symlink_to(target)
    assert place.write(Masked(b"one"))
    assert (target.read_text(), place.path.is_symlink()) == ("precious", False)


def test_folders_that_are_refused(memory: Path, tmp_path: Path) -> None:
    open_folder = memory / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    with pytest.raises(SinkUnusable, match="chmod go-w"):
        FilePlace(open_folder / "secret").write(Masked(b"one"))
    linked = memory / "linked"
    linked.symlink_to(memory)
    for path in (linked / "secret", memory / "absent" / "secret"):
        with pytest.raises(SinkUnusable, match="cannot be written"):
            FilePlace(path).write(Masked(b"one"))
    on_disk = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".sink-"))
    try:
        with pytest.raises(SinkUnusable, match="not in memory"):
            FilePlace(on_disk / "secret").write(Masked(b"one"))
        assert FilePlace(on_disk / "secret", in_memory=False).write(Masked(b"one"))
    finally:
        (on_disk / "secret").unlink()
        on_disk.rmdir()


async def test_a_command_is_told_nothing_of_ours(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDS_AGENT_CANARY", CANARY)
    seen = memory / "seen"
    program = f"import os; open({str(seen)!r}, 'w').write(repr(dict(os.environ)))"
    await command.run([sys.executable, "-c", program], 60)
    assert CANARY not in seen.read_text()
    assert "PATH" in seen.read_text()


async def test_commands_that_fail(memory: Path) -> None:
    with pytest.raises(CommandFailed, match="cannot be run: No such file"):
        await command.run(["/nowhere/at/all"], 60)
    with pytest.raises(CommandFailed, match="status 3"):
        await command.run([sys.executable, "-c", "raise SystemExit(3)"], 60)
    pid = memory / "pid"
    sleeper = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); os.fork(); time.sleep(600)"
    with pytest.raises(CommandFailed, match="took longer"):
        await command.run([sys.executable, "-c", sleeper], 5)
    group = int(pid.read_text())
    async with asyncio.timeout(30):
        while _alive(group):
            await asyncio.sleep(0.05)


def _alive(group: int) -> bool:
    """Whether any process of the group lives and is more than a name in the table."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, found = status.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(found) == group and state != "Z":
            return True
    return False


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"path": "relative"}, "is not absolute"),
        ({"selectors": []}, "no selectors match nobody"),
        ({"selectors": ["nonsense"]}, "type:value"),
        ({"field": None}, "is needed, and not both"),
        ({"template": "/t"}, "is needed, and not both"),
        ({"secrets": ["a", "b"]}, "use a template"),
        ({"secrets": []}, "sinks.one.secrets"),
        ({"mode": "0777777"}, "file mode"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_sink_that_makes_no_sense(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    sink: dict[str, object] = {"path": "/run/x", "selectors": ["unix:uid:1"], "secrets": ["a"], "field": ""}
    written = "".join(f"{key} = {_toml(value)}\n" for key, value in {**sink, **changes}.items() if value is not None)
    file = tmp_path / "agent.toml"
    file.write_text(f'server = "h:1"\n[sinks.one]\n{written}')
    with pytest.raises(ConfigError, match=problem):
        load_agent_config(file, {}, {})


def test_two_sinks_with_one_file(tmp_path: Path) -> None:
    table = 'path = "/run/x"\nselectors = ["unix:uid:1"]\nsecrets = ["a"]\nfield = ""\n'
    file = tmp_path / "agent.toml"
    file.write_text(f'server = "h:1"\n[sinks.one]\n{table}[sinks.two]\n{table}')
    with pytest.raises(ConfigError, match="same path as that of one"):
        load_agent_config(file, {}, {})


def _toml(value: object) -> str:
    return repr(value).replace("'", '"')

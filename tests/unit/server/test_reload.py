"""SIGHUP: what is taken over, what is left, and that nothing is which cannot be audited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from structlog.testing import capture_logs

from sds.config import ServerConfig, changed_keys
from sds.config.problems import ConfigError, Problem
from sds.lifecycle import Systemd
from sds.reload import Reload, Reloader
from sds.server.notices.engine import NoticeEngine
from sds.server.wiring.ledger import MAX_KEY, MAX_KEYS, reload_details
from sds.server.wiring.notices import notice_rules, use_notices
from sds.store.errors import Reason, StoreUnavailable
from tests.fakes.clock import FakeClock
from tests.fakes.wait import until


def config(**changes: Any) -> ServerConfig:
    return ServerConfig.model_validate({"trust_domain": "example.org", **changes})


class Signalled:
    """A reloader whose every effect is written down, in order."""

    def __init__(self, before: ServerConfig, after: ServerConfig | Exception) -> None:
        self.after = after
        self.done: list[tuple[str, ServerConfig]] = []
        self.noted: list[Reload[ServerConfig]] = []
        self.fail: Exception | None = None
        systemd = Systemd({}, 1)
        self.reloader = Reloader(before, self.read, systemd, FakeClock(), self.applied, self.note)

    def read(self) -> ServerConfig:
        if isinstance(self.after, Exception):
            raise self.after
        return self.after

    def applied(self, taken: ServerConfig) -> None:
        self.done.append(("applied", taken))

    async def note(self, done: Reload[ServerConfig]) -> None:
        if self.fail is not None:
            raise self.fail
        self.noted.append(done)
        self.done.append(("noted", done.config))

    async def hang_up(self, said: str) -> list[Mapping[str, Any]]:
        with capture_logs() as logs:
            self.reloader.hang_up()
            await until(lambda: any(said in line["event"] for line in logs))
            task = self.reloader._reloading
            assert task is not None
            await task
        return logs


SMTP = {"host": "mail.example.org", "sender": "sds@example.org"}
NOTICES = {
    "smtp": SMTP,
    "default": ["new@example.org"],
    "digest": "1h",
    "urgent": ["authority"],
    "interval": "5s",
    "stages": {"silent": ["2h"], "unheld": False},
}
LIVE = {"notices.default", "notices.digest", "notices.urgent", "notices.stages.silent", "notices.stages.unheld"}


async def test_it_is_noted_first_and_what_needs_a_restart_stays() -> None:
    before = config(notices={"smtp": SMTP})
    signalled = Signalled(before, config(notices=NOTICES, log={"level": "info"}))
    logs = await signalled.hang_up("reloaded")
    assert [what for what, _ in signalled.done] == ["noted", "applied"]
    (noted,) = signalled.noted
    assert set(noted.taken) == LIVE
    assert noted.left == ("notices.interval",)
    assert any(line["event"].startswith("these keys") and line["keys"] == ["notices.interval"] for line in logs)
    taken = signalled.done[-1][1]
    assert taken.notices.interval == before.notices.interval
    assert taken.notices.default == ("new@example.org",)
    assert taken.notices.stages.unheld is False
    assert taken.notices.stages.behind == before.notices.stages.behind
    rules = notice_rules(taken.notices, "example.org", "node")
    assert rules.recipients.fallback == ("new@example.org",)
    assert not rules.policy.unheld
    assert {key for keys in changed_keys(before, taken) for key in keys} == LIVE


async def test_what_cannot_be_audited_is_not_taken_over() -> None:
    signalled = Signalled(config(notices={"smtp": SMTP}), config(notices=NOTICES))
    signalled.fail = StoreUnavailable(Reason.FULL)
    logs = await signalled.hang_up("could not be audited")
    assert "no space left" in next(line["reason"] for line in logs if "audited" in line["event"])
    assert signalled.done == []
    signalled.fail = None  # and the next one takes it over
    await signalled.hang_up("reloaded")
    assert set(signalled.noted[0].taken) == LIVE


async def test_a_configuration_with_problems_is_noted_and_changes_nothing() -> None:
    before = config()
    signalled = Signalled(before, ConfigError([Problem("database.url", "is no URL"), Problem("", "is no TOML")]))
    await signalled.hang_up("stays as it was")
    (noted,) = signalled.noted
    assert (noted.config, noted.taken, noted.wrong) == (before, (), ("database.url", ""))
    assert [what for what, _ in signalled.done] == ["noted"]


def test_the_event_has_names_and_fingerprints_and_no_values() -> None:
    changed = config(
        notices={"default": ["someone@example.org"], "smtp": SMTP},
        database={"url": "postgresql://sds:s3cret-password@db.example.org/sds"},
        ca={"profiles": {"gateway": {"dns_names": [".internal.example.org"]}}},
    )
    taken = ("notices.default", "ca.profiles")
    details = reload_details(Reload(changed, taken, ("database.url",)))
    text = json.dumps(details)
    for value in ("someone", "s3cret", "db.example", "internal"):
        assert value not in text
    prints = details["changed"]
    assert isinstance(prints, dict)
    assert set(prints) == set(taken)
    assert details["need_restart"] == ("database.url",)
    again = reload_details(Reload(config(notices={"default": ["other@example.org"], "smtp": SMTP}), taken))["changed"]
    assert isinstance(again, dict)
    assert not set(prints.values()) & set(again.values())


def test_notices_go_by_what_was_taken_over() -> None:
    before, after = config(notices={"smtp": SMTP}), config(notices=NOTICES)
    parts: Any = SimpleNamespace(clock=FakeClock())
    engine = NoticeEngine(parts, notice_rules(before.notices, "example.org", "node-1"))
    assert engine.recipients.fallback == ()
    use_notices(engine, after)
    assert engine.recipients.fallback == ("new@example.org",)
    assert engine.recipients.mail


def test_problems_in_the_event_are_bounded() -> None:
    details = reload_details(Reload(config(), wrong=("k" * 10_000, "\N{GREEK SMALL LETTER ALPHA}", *["x"] * 1000)))
    problems = details["problems"]
    assert isinstance(problems, list)
    assert (len(problems), problems[0], problems[1]) == (MAX_KEYS, "k" * MAX_KEY, "")

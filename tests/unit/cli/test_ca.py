"""sds ca: the commands, and the one that rotates."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ca.authority import AuthorityKind, AuthorityState
from ca.gate import Lag
from sds.cli.ca.events import Done, Event
from sds.cli.ca.progress import sentence
from sds.cli.ca.rotate import Rotation, Wishes
from sds.client import Client, ClientError, UnixSocket
from sds.client.errors import Unreachable
from sds.client.transport.connection import Connection
from sds.clock import SystemClock
from tests.fakes.admin_authorities import FakeAuthorities
from tests.fakes.admin_server import Running
from tests.fakes.slots import holder
from tests.unit.cli.conftest import CLEAN, SDS, Sds


@pytest.fixture
def fake(running: Running) -> FakeAuthorities:
    made = running.fakes.authorities
    made.holders = (
        holder("a", 99),
        holder("a", 1, stream_id="s1", pid=7, path="/bin/envoy", spiffe_ids=("spiffe://example.org/web",)),
    )
    return made


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def acked(fake: FakeAuthorities) -> Callable[[], None]:
    return lambda: fake.hold(99)


def nothing() -> None:
    """Between this look and the next one."""


def only(fake: FakeAuthorities, state: AuthorityState, kind: AuthorityKind = AuthorityKind.X509) -> str:
    (found,) = [one.id for one in fake.slots.values() if one.state is state and one.kind is kind]
    return found


# Looking


def test_show_lists_all_and_names_who_is_waited_for(sds: Sds, fake: FakeAuthorities) -> None:
    made = sds.json("ca", "prepare")
    result = sds("ca", "show")
    assert [line.split()[:3] for line in result.stdout.splitlines()[1:]] == [
        [fake.active().id[:12], "x509", "active"],
        [fake.active(AuthorityKind.JWT).id[:12], "jwt", "active"],
        [made["id"][:12], "x509", "prepared"],
    ]
    assert "1 of 2 have bundle" in result.stdout
    assert "pid 7 /bin/envoy (spiffe://example.org/web): not acknowledged; has bundle 1" in result.stderr
    assert len(sds.json("ca", "show")["authorities"]) == 3
    assert len(sds.json("ca", "show", "--kind", "jwt")["authorities"]) == 1


def test_show_one_by_the_beginning_of_its_id(sds: Sds, fake: FakeAuthorities) -> None:
    one = fake.active()
    assert sds.json("ca", "show", one.id[:6])["id"] == one.id
    assert f"ID            {one.id}" in sds("ca", "show", one.id[:6]).stdout
    sds("ca", "show", "ff00ff", code=3)
    for name in ("aa1", "aa2"):
        fake.slots[name] = replace(one, id=name, state=AuthorityState.OLD)
    assert "several" in sds("ca", "show", "aa", code=2).stderr


def test_what_comes_from_elsewhere_cannot_move_the_cursor(sds: Sds, fake: FakeAuthorities) -> None:
    fake.holders = (holder("a", 1, stream_id="s", path="/bin/\x1b[2J", lag=Lag.NACKED, detail="bad\nthing"),)
    sds("ca", "prepare")
    shown = sds("ca", "show").stderr
    assert "\x1b" not in shown and "rejected: bad\\nthing" in shown


# One step at a time


def test_activation_is_refused_while_the_gate_is_closed(sds: Sds, fake: FakeAuthorities) -> None:
    made = sds.json("ca", "prepare")
    result = sds("ca", "activate", code=8)
    assert "pid 7 /bin/envoy" in result.stderr and "sds ca rotate" in result.stderr
    problem = json.loads(sds("ca", "activate", made["id"][:8], "--output", "json", code=8).stderr)
    assert problem["type"] == "urn:sds:problem:gate-closed"
    assert [one["pid"] for one in problem["gate"]["stragglers"]] == [7]
    assert fake.active().id != made["id"]


def test_force_says_whom_it_cuts_off_and_wants_a_yes(sds: Sds, fake: FakeAuthorities) -> None:
    made = sds.json("ca", "prepare")
    refused = sds("ca", "activate", "--force", code=2)
    assert "pid 7 /bin/envoy" in refused.stderr and "--yes" in refused.stderr
    assert fake.active().id != made["id"]
    done = sds("ca", "activate", "--force", "--yes", "--cross-sign")
    assert "pid 7 /bin/envoy" in done.stderr and f"{made['id']} signs from now on" in done.stdout
    assert fake.active().id == made["id"] and fake.cross_signed == [made["id"]]


def test_activating_without_anything_prepared(sds: Sds, fake: FakeAuthorities) -> None:
    assert "sds ca prepare" in sds("ca", "activate", code=3).stderr
    sds("ca", "prepare")
    refused = sds("ca", "prepare", code=4)
    assert "prepared already" in refused.stderr and "sds ca show" in refused.stderr


def test_a_dry_run_says_what_an_authority_issued_and_leaves_it(sds: Sds, fake: FakeAuthorities) -> None:
    one = fake.active()
    for verb in ("taint", "revoke"):
        text = sds("ca", verb, one.id, "--dry-run").stdout
        assert text.startswith(f"Would         {verb} authority {one.id}\n")
        assert text.endswith("This was a dry run: nothing was changed.\n")
        assert sds.json("ca", verb, one.id, "--dry-run")["blast_radius"]["certificates_total"] == 0
    assert sds("ca", "revoke", one.id, "--force", "--dry-run").exit_code == 0, "nobody has to be asked"
    assert fake.active() == one
    assert not fake.active().tainted


def test_taint_and_revoke(sds: Sds, fake: FakeAuthorities) -> None:
    one = fake.active()
    assert "sds ca rotate" in sds("ca", "taint", one.id).stdout
    assert fake.active().tainted
    assert "signs no more" in sds("ca", "show", one.id).stdout, "and no successor in half a year"
    sds("ca", "revoke", one.id, code=4)
    sds("ca", "revoke", one.id, "--force", code=2)
    assert not fake.active().revoked
    sds("ca", "revoke", one.id, "--force", "--yes")
    assert fake.active().revoked


# Rotating


def test_rotate_prepares_waits_and_activates(sds: Sds, fake: FakeAuthorities) -> None:
    before = fake.active().id
    fake.meanwhile = [nothing, nothing, nothing, acked(fake)]
    events = lines(sds("ca", "rotate", "--output", "json").stdout)
    assert [event["event"] for event in events] == ["started", "prepared", "gate", "activated", "done"]
    started, made, gate, activated, done = events
    assert started == {"event": "started", "kind": "x509", "active": before}
    assert made["resumed"] is False and made["bundle_sequence"] == fake.slots[made["authority_id"]].published_sequence
    assert (gate["acked"], gate["total"], gate["stragglers"][0]["pid"]) == (1, 2, 7)
    assert activated["authority_id"] == fake.active().id == made["authority_id"]
    assert (done["replaced"], done["kept_until"] is not None) == (before, True)


def test_rotate_tells_people_each_thing_once(sds: Sds, fake: FakeAuthorities) -> None:
    fake.meanwhile = [nothing, nothing, nothing, nothing, acked(fake)]
    text = sds("ca", "rotate").stdout
    assert text.count("Waiting: 1 of 2 have bundle 3") == 1
    assert text.count("pid 7 /bin/envoy") == 1
    assert text.count("signs from now on") == 1
    assert re.search(r"stays in the bundle for another \S+, until 20\S+Z\.$", text, re.MULTILINE)


def test_a_timeout_that_is_none_is_told_by_its_name(sds: Sds) -> None:
    assert "--timeout" in sds("ca", "rotate", "--timeout", "soon", code=2).stderr


def test_how_long_the_former_authority_stays() -> None:
    now = datetime.now(UTC)
    assert "for another 59m59s, until " in sentence(Done("b", "a", now + timedelta(hours=1), 1.0))
    assert "a leaves the bundle now" in sentence(Done("b", "a", now - timedelta(seconds=3), 1.0))
    assert "until nothing that it issued" in sentence(Done("b", "a", None, 1.0))
    assert sentence(Done("b", None, None, 1.0)) == "Done."


def test_rotate_goes_on_with_what_is_prepared(sds: Sds, fake: FakeAuthorities) -> None:
    made = sds.json("ca", "prepare")
    stopped = sds("ca", "rotate", "--timeout", "0s", "--output", "json", code=8)
    assert [event["event"] for event in lines(stopped.stdout)] == ["started", "prepared", "gate", "stopped"]
    assert lines(stopped.stdout)[-1] == {"event": "stopped", "reason": "timeout", "authority_id": made["id"]}
    fake.hold(99)
    resumed = lines(sds("ca", "rotate", "--output", "json").stdout)
    assert resumed[1]["resumed"] is True and resumed[1]["authority_id"] == made["id"] == fake.active().id
    assert len([one for one in fake.slots.values() if one.kind is AuthorityKind.X509]) == 2


def test_rotate_at_the_end_of_its_time_says_who_is_late(sds: Sds, fake: FakeAuthorities) -> None:
    result = sds("ca", "rotate", "--timeout", "0s", code=8)
    assert "have not acknowledged" in result.stderr and "goes on from here" in result.stderr
    assert "pid 7 /bin/envoy" in result.stdout


def test_rotate_by_force_activates_at_the_end_of_its_time(sds: Sds, fake: FakeAuthorities) -> None:
    standing = len(fake.slots)
    assert "--yes" in sds("ca", "rotate", "--force", "--timeout", "0s", code=2).stderr
    assert len(fake.slots) == standing, "nothing is prepared for who cannot be asked"
    events = lines(sds("ca", "rotate", "--force", "--timeout", "0s", "--yes", "--output", "json").stdout)
    assert [(event["event"], event.get("forced")) for event in events][-2:] == [("activated", True), ("done", None)]


def test_rotate_sees_that_the_schedule_was_faster(sds: Sds, fake: FakeAuthorities) -> None:
    def scheduled() -> None:
        made = only(fake, AuthorityState.PREPARED)
        fake.change(fake.active(), state=AuthorityState.OLD)
        fake.change(fake.slots[made], state=AuthorityState.ACTIVE)

    fake.meanwhile = [nothing, nothing, nothing, scheduled]
    events = lines(sds("ca", "rotate", "--output", "json").stdout)
    assert [event["event"] for event in events] == ["started", "prepared", "gate", "activated", "done"]
    assert events[-2]["by_us"] is False


def test_rotate_begins_again_when_the_prepared_one_is_taken_back(sds: Sds, fake: FakeAuthorities) -> None:
    def tainted() -> None:
        fake.change(fake.slots[only(fake, AuthorityState.PREPARED)], tainted=True)

    fake.meanwhile = [nothing, nothing, nothing, tainted, acked(fake)]
    events = lines(sds("ca", "rotate", "--output", "json").stdout)
    assert [event["event"] for event in events] == [
        "started", "prepared", "gate", "lost", "prepared", "activated", "done",
    ]  # fmt: skip
    assert events[1]["authority_id"] == events[3]["authority_id"] != fake.active().id


def test_rotate_for_tokens_waits_for_those_who_fetch(sds: Sds, fake: FakeAuthorities) -> None:
    fake.jwt_wait = timedelta(minutes=1, seconds=1)
    before = fake.active(AuthorityKind.JWT).id
    text = sds("ca", "rotate", "--kind", "jwt").stdout
    assert "published at least" in text
    assert only(fake, AuthorityState.OLD, AuthorityKind.JWT) == before


class Restarting(Connection):
    """A connection whose server is away at these calls, counted from 1."""

    def __init__(self, socket: Path, away: set[int]) -> None:
        super().__init__(UnixSocket(socket))
        self._away = away
        self._calls = 0

    def _open(self, order: Any) -> httpx.Response:
        self._calls += 1
        if self._calls in self._away:
            raise Unreachable("it", "nothing listens there")
        return super()._open(order)


class Told:
    """Implements Progress."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def tell(self, event: Event) -> None:
        self.events.append(event)

    def pause(self) -> None:
        """Nothing is drawn."""


def rotate(sds: Sds, away: set[int], timeout: float | None = None) -> list[str]:
    told = Told()
    with Client(UnixSocket(sds.socket)) as client:
        client._connection = Restarting(sds.socket, away)
        wishes = Wishes("x509", timeout, force=False, cross_sign=False, yes=False)
        try:
            Rotation(client, wishes, told, SystemClock(), sleep=lambda _: None).run()
        except ClientError as error:
            return [*(str(event.document()["event"]) for event in told.events), type(error).__name__]
    return [str(event.document()["event"]) for event in told.events]


def test_rotate_waits_for_a_server_that_restarts_at_whatever_moment(sds: Sds, fake: FakeAuthorities) -> None:
    """Calls: first look, look, prepare, look, activate, last look."""
    fake.hold(99)
    assert rotate(sds, set()) == ["started", "prepared", "activated", "done"]
    assert rotate(sds, {2, 4, 5}) == [
        "started",
        "server-away",
        "server-away",
        "server-away",
        "prepared",
        "activated",
        "done",
    ]
    assert rotate(sds, {1}) == ["Unreachable"], "a wrong socket is told at once"
    assert rotate(sds, {2}, timeout=0.0) == ["started", "Unreachable"]


def test_an_interrupted_rotation_says_where_it_stands(sds: Sds, fake: FakeAuthorities) -> None:
    with sds.start("ca", "rotate", "--output", "json") as process:
        assert process.stdout is not None and process.stderr is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert json.loads(process.stdout.read()) == {
            "event": "stopped",
            "reason": "interrupted",
            "authority_id": only(fake, AuthorityState.PREPARED),
        }
        assert process.stderr.read() == b""
    fake.hold(99)
    sds("ca", "rotate")
    assert len([one for one in fake.slots.values() if one.kind is AuthorityKind.X509]) == 2


def test_on_a_terminal_it_draws_who_has_the_bundle_and_leaves_only_what_happened(
    sds: Sds, fake: FakeAuthorities
) -> None:
    def slowly() -> None:
        time.sleep(0.3)

    fake.meanwhile = [nothing, nothing, slowly, slowly, acked(fake)]
    ours, theirs = pty.openpty()
    env = {**CLEAN, "SDS_ADMIN_SOCKET": str(sds.socket), "TERM": "xterm", "COLUMNS": "200", "LINES": "50"}
    with subprocess.Popen([SDS, "ca", "rotate"], env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        drawn = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            drawn += piece
        assert process.wait(20) == 0
    os.close(ours)
    text = drawn.decode()
    assert "1 of 2 have bundle" in text and "pid 7 /bin/envoy" in text and "Ctrl-C" in text
    assert "signs from now on" in text and "Done." in text

"""Exports of agents, of what sidecars hold, and of grants."""

from __future__ import annotations

import csv
import io
import json
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sds.admin.services import StreamInfo
from tests.contract.store import samples
from tests.contract.store.samples import AGENT, OTHER_AGENT
from tests.fakes.admin_server import Running
from tests.fakes.clock import EPOCH
from tests.unit.admin.test_bulk import attest
from tests.unit.cli.conftest import Sds
from tests.unit.cli.test_entry import Make

EXPORTS = {
    ("agent", "export"): 2,
    ("stream", "export"): 4,
    ("grant", "export"): 1,
}
"""Commands, and how many rows `fleet` has for each."""


@pytest.fixture
def fleet(sds: Sds, make: Make, running: Running) -> None:
    attest(running, AGENT)
    attest(running, OTHER_AGENT, version="=2", banned_at=EPOCH, last_seen=EPOCH + timedelta(hours=1))
    records = [samples.stream("s1"), samples.stream("s2", OTHER_AGENT, protocol="delta")]
    running.fakes.streams.rows = [StreamInfo.of(each, EPOCH) for each in records]
    make("web")
    sds("secret", "create", "token")
    sds("grant", "create", "token", "--to", "spiffe://example.org/web")


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n") if line]


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("words", EXPORTS)
def test_to_standard_output_and_into_a_file(sds: Sds, tmp_path: Path, words: tuple[str, str], form: str) -> None:
    done = sds(*words, "--format", form)
    path = tmp_path / "out"
    path.write_text("as it was")
    written = sds(*words, "--format", form, "--file", str(path))
    assert (written.stdout, path.read_bytes()) == ("", done.stdout_bytes)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    if form == "jsonl":
        assert len(rows(done.stdout)) == EXPORTS[words]
        assert f"Wrote {EXPORTS[words]} lines" in written.stderr
    else:
        head, *table = csv.reader(io.StringIO(done.stdout_bytes.decode(), newline=""))
        assert len(table) == EXPORTS[words]
        assert all(len(row) == len(head) for row in table)
    sds(*words, "--file", str(tmp_path / "none" / "out"), code=2)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("fleet")
def test_they_are_narrowed(sds: Sds) -> None:
    def agents(*flags: str) -> list[str]:
        return [each["spiffe_id"] for each in rows(sds("agent", "export", *flags).stdout)]

    both = sorted([str(AGENT), str(OTHER_AGENT)])
    assert agents("--sort", "spiffe_id") == both
    assert agents("--sort", "-spiffe_id") == both[::-1]
    assert agents("--banned") == [str(OTHER_AGENT)]
    assert agents("--not-banned") == [str(AGENT)]
    assert agents("--running", "=2") == [str(OTHER_AGENT)]
    assert agents("--below", str(AGENT)) == [str(AGENT)]
    assert agents("--attested-by", "none") == []
    assert agents("--downstream") == []
    assert agents("--silent-since", (EPOCH + timedelta(minutes=1)).isoformat()) == [str(AGENT)]
    streams = rows(sds("stream", "export", "--protocol", "delta", "--sort", "-lag").stdout)
    assert {each["agent_id"] for each in streams} == {str(OTHER_AGENT)}
    assert rows(sds("stream", "export", "--resource", "nothing").stdout) == []
    assert len(rows(sds("grant", "export", "--secret", "token", "--spiffe-id", "spiffe://example.org/web").stdout)) == 1
    assert rows(sds("grant", "export", "--spiffe-id", "spiffe://example.org/other").stdout) == []
    sds("grant", "export", "--secret", "none", code=3)


@pytest.mark.usefixtures("fleet")
def test_no_spreadsheet_program_finds_a_formula(sds: Sds) -> None:
    assert '"\'=2"' in sds("agent", "export", "--format", "csv").stdout

"""Templates of one's own: what is wrong with them is told at start, all of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sds.config import ConfigError
from sds.notices.message import compose
from sds.notices.notice import Kind, Notice
from sds.notices.plan import Mode
from sds.server.notices.texts import load_texts

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ONE = Notice("n1", Kind.TOKEN, "t1", "a@x.org", "it ends", "", 0, False, NOW, NOW, NOW)
MESSAGE = compose((ONE,), Mode.DIGEST, NOW, "example.org", "host")


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load_texts(folder, html=True)
    assert all(problem.key == "notices.templates" for problem in refused.value.problems)
    return [problem.problem for problem in refused.value.problems]


def test_one_file_takes_the_place_of_one_built_in_text(tmp_path: Path) -> None:
    (tmp_path / "subject.txt").write_text("sds: {{ count }}")
    rendered = load_texts(tmp_path, html=False).render(MESSAGE)
    assert rendered.subject == "sds: 1"
    assert "it ends" in rendered.body
    assert rendered.html is None


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "subject.txt").write_text("{{ nothing }}")
    (tmp_path / "body.txt").write_text("{{ 'a' * 999999999 }}")
    (tmp_path / "body.html").write_bytes(b"\xff")
    assert problems(tmp_path) == [
        "subject.txt cannot be filled in: it names what is not there",
        "body.txt line 1 has what templates of notices may not: Mul",
        "body.html is not UTF-8 text",
    ]


def test_what_fails_for_some_messages_alone_is_found_too(tmp_path: Path) -> None:
    (tmp_path / "body.txt").write_text("{{ groups[0].title }}")
    assert problems(tmp_path) == ["body.txt cannot be filled in: it names what is not there"]


def test_a_folder_that_is_not_there_or_empty(tmp_path: Path) -> None:
    assert problems(tmp_path) == ["has none of subject.txt, body.txt, body.html"]
    assert all("no such folder" in each for each in problems(tmp_path / "no"))


def test_what_comes_out_is_escaped_in_html_alone(tmp_path: Path) -> None:
    (tmp_path / "body.html").write_text(
        "{{ trust_domain }}{% for g in groups %}{% for l in g.lines %}{{ l.text }}{% endfor %}{% endfor %}"
    )
    (tmp_path / "body.txt").write_text(
        "{% for g in groups %}{% for l in g.lines %}{{ l.text }}{% endfor %}{% endfor %}"
    )
    one = Notice("n1", Kind.TOKEN, "t1", "a@x.org", "<script>", "", 0, False, NOW, NOW, NOW)
    rendered = load_texts(tmp_path, html=True).render(compose((one,), Mode.DIGEST, NOW, "example.org", "host"))
    assert rendered.html == "example.org&lt;script&gt;"
    assert rendered.body == "<script>"

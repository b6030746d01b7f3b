"""Templates: what they may, and that none can run away or reach for what it is not given."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sds.notices.message import MOST_LINES, compose, document
from sds.notices.notice import Kind, Notice
from sds.notices.plan import Mode
from sds.notices.template import HTML, MAX_OUTPUT, MAX_SOURCE, SUBJECT, TEXT, MessageTemplate, TemplateUnusable

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ONE = Notice("n1", Kind.CERTIFICATE, "e1", "a@x.org", "spiffe://x/web <b>", "pay", 1, True, NOW, NOW, NOW)


def message(*notices: Notice, mode: Mode = Mode.DIGEST):
    return compose(notices, mode, NOW, "example.org", "host")


def test_the_built_in_ones() -> None:
    many = [replace(ONE, id=f"n{n}", urgent=False) for n in range(MOST_LINES + 7)]
    made = message(*many, replace(ONE, kind=Kind.TOKEN, ended_at=NOW, due_at=None))
    assert MessageTemplate(SUBJECT).render(made) == "[sds example.org] 57 notices; 1 over"
    text = MessageTemplate(TEXT).render(made)
    assert text.count("spiffe://x/web") == MOST_LINES + 1
    assert "and 7 more: sds notice list --kind certificate" in text
    html = MessageTemplate(HTML, html=True).render(made)
    assert "&lt;b&gt;" in html
    assert "web <b>" not in html
    assert MessageTemplate(SUBJECT).render(message(ONE)) == "[sds example.org] 1 notice, 1 urgent"


def test_times_are_told_in_two_units() -> None:
    due = [
        timedelta(days=2, hours=3, minutes=4),
        timedelta(hours=26),
        timedelta(minutes=90, seconds=3),
        timedelta(seconds=-70),
    ]
    lines = message(*(replace(ONE, id=str(n), due_at=NOW + one) for n, one in enumerate(due))).groups[0].lines
    assert [one.distance for one in lines] == ["in 2d3h", "in 1d2h", "in 1h30m", "1m10s ago"]


def test_a_document_for_programs() -> None:
    told = document("id1", [ONE], Mode.URGENT, NOW, "example.org")
    assert told["type"] == "sds.notices.urgent"
    assert told["notices"][0]["due_at"] == "2026-06-01T00:00:00Z"
    assert "recipient" not in told["notices"][0]


@pytest.mark.parametrize(
    "bomb",
    [
        "{{ 'a' * 999999999 }}",
        "{{ 10 ** 99999999 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ 'a' ~ 'b' }}",
        "{{ 1 + 1 }}",
        "{{ range(9) }}",
        "{{ ''.ljust(999999999) }}",
        "{{ 'a'|center(999999999) }}",
        "{{ groups|tojson }}",
        "{% set x = 1 %}",
        "{% macro m() %}{{ m() }}{% endmacro %}",
        "{% include 'x' %}",
        "{% extends 'x' %}",
        "{% import 'x' as y %}",
        "{% for g in groups recursive %}{{ loop(groups) }}{% endfor %}",
        "{% for a in groups %}" * 4 + "{% endfor %}" * 4,
        "{% for a in groups %}{% endfor %}" * 33,
        "{{ [1] }}",
        "{{ {'a': 1} }}",
        "{{ lipsum }}{{ cycler() }}",
        "{% if %}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "x" * (MAX_SOURCE + 1),
    ],
    ids=lambda text: text[:30],
)
def test_what_templates_may_not(bomb: str) -> None:
    with pytest.raises(TemplateUnusable):
        MessageTemplate(bomb)


@pytest.mark.parametrize(
    "reach",
    [
        "{{ nothing }}",
        "{{ groups[0].nothing }}",
        "{{ groups[9].title }}",
        "{{ mode.__class__ }}",
        "{{ groups.__class__.__mro__ }}",
        "{{ self }}{{ self.__init__ }}",
        "{% for a in 1 %}{% endfor %}",
    ],
)
def test_what_templates_reach_in_vain(reach: str) -> None:
    with pytest.raises(TemplateUnusable):
        MessageTemplate(reach).render(message(ONE))


def test_output_has_an_end() -> None:
    template = MessageTemplate(
        "{% for a in groups %}{% for b in a.lines %}" + "x" * 60_000 + "{% endfor %}{% endfor %}"
    )
    with pytest.raises(TemplateUnusable, match=str(MAX_OUTPUT)):
        template.render(message(*(replace(ONE, id=str(n)) for n in range(50))))


def test_no_error_repeats_what_a_template_says() -> None:
    for source in ("{{ hunter2 }}", "{{ 'hunter2'|hunter2 }}", "{% hunter2 %}"):
        with pytest.raises(TemplateUnusable) as refused:
            MessageTemplate(source).render(message(ONE))
        assert "hunter2" not in str(refused.value)

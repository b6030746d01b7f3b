"""Templates of messages: a small part of Jinja, in which nothing can run away.

Whoever may write a template may word a message, and no more: no calls, no macros, no assignments, no arithmetic,
filters and tests of a short list, loops within bounds, and an end to what comes out. So a template neither reaches for
what it is not given, nor needs more time or memory than its size allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_SOURCE = 64 * 1024
MAX_OUTPUT = 1024 * 1024
MAX_LOOPS, MAX_DEPTH = 32, 3
"""Loops in a template, and loops within loops."""

_FILTERS = frozenset({"e", "escape", "upper", "lower", "capitalize", "length", "count", "first", "last", "trim"})
_TESTS = frozenset({"defined", "none", "true", "false", "string", "odd", "even", "eq", "ne"})
_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const, nodes.For,
    nodes.If, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Filter, nodes.Test,
)  # fmt: skip


class TemplateUnusable(Exception):
    """What is wrong with a template, safe to show."""


class MessageTemplate:
    """Sees the fields of a `Message`. Whatever is not there is an error, never an empty text."""

    def __init__(self, source: str, *, html: bool = False) -> None:
        """Raises TemplateUnusable."""
        if len(source) > MAX_SOURCE:
            raise TemplateUnusable(f"is longer than {MAX_SOURCE} characters")
        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined, autoescape=html, trim_blocks=True, lstrip_blocks=True
        )
        environment.globals.clear()
        environment.filters = {name: environment.filters[name] for name in _FILTERS}
        environment.tests = {name: environment.tests[name] for name in _TESTS}
        try:
            _check(environment.parse(source))
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise TemplateUnusable(f"is no template: {_place(error)}") from None
        except RecursionError:
            raise TemplateUnusable("is no template: it is nested too deeply") from None

    def render(self, message: Any) -> str:
        """Raises TemplateUnusable."""
        size, parts = 0, []
        try:
            for part in self._template.generate(_plain(message)):
                size += len(part)
                if size > MAX_OUTPUT:
                    raise TemplateUnusable(f"makes more than {MAX_OUTPUT} characters")
                parts.append(part)
        except TemplateError as error:
            raise TemplateUnusable(f"cannot be filled in: {_place(error)}") from None
        except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
            raise TemplateUnusable(f"cannot be filled in: {type(error).__name__}") from None
        return "".join(parts)


def _plain(value: Any) -> Any:
    """Dataclasses as mappings: a template has their fields and nothing else of them."""
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _check(tree: nodes.Template) -> None:
    """Raises TemplateUnusable for what this language does not have."""
    loops = 0
    for node, depth in _walk(tree, 0):
        if not isinstance(node, _NODES):
            raise TemplateUnusable(f"line {node.lineno} has what templates of notices may not: {type(node).__name__}")
        if isinstance(node, nodes.For):
            loops += 1
            if node.recursive or depth >= MAX_DEPTH or loops > MAX_LOOPS:
                most = f"at most {MAX_LOOPS}, {MAX_DEPTH} deep and not recursive"
                raise TemplateUnusable(f"line {node.lineno} has a loop too many: {most}")


def _walk(node: nodes.Node, depth: int) -> Iterator[tuple[nodes.Node, int]]:
    yield node, depth
    below = depth + isinstance(node, nodes.For)
    for child in node.iter_child_nodes():
        yield from _walk(child, below)


def _place(error: TemplateError) -> str:
    kind = type(error).__name__
    if kind == "UndefinedError":
        return "it names what is not there"
    lineno = getattr(error, "lineno", None)
    return f"{kind}{f' in line {lineno}' if lineno else ''}"


SUBJECT = """\
[sds {{ trust_domain }}] \
{% if mode == "test" %}Test of notices\
{% elif count %}{{ count }} {{ "notice" if count == 1 else "notices" }}\
{% if count_urgent %}, {{ count_urgent }} urgent{% endif %}\
{% if count_over %}; {{ count_over }} over{% endif %}\
{% else %}{{ count_over }} {{ "notice" if count_over == 1 else "notices" }} over{% endif %}"""

TEXT = """\
{% if mode == "test" %}
This is a test. Notices of the trust domain {{ trust_domain }} reach you.

{% endif %}
{% for group in groups %}
{{ group.title }} ({{ group.count }})
{% for line in group.lines %}
 {{ "!" if line.urgent else "-" }} {{ line.text }}
{% if line.when %}
     {{ line.when }} ({{ line.distance }}){{ ", owner " if line.owner else "" }}{{ line.owner }}
{% endif %}
{% endfor %}
{% if group.more %}
   and {{ group.more }} more: sds notice list --kind {{ group.kind }}
{% endif %}

{% endfor %}
{% if over %}
No longer the case
{% for group in over %}
{% for line in group.lines %}
 - {{ line.text }} (since {{ line.when }})
{% endfor %}
{% if group.more %}
   and {{ group.more }} more: sds notice list --kind {{ group.kind }} --over
{% endif %}
{% endfor %}

{% endif %}
--
sds of {{ trust_domain }}, {{ server }}, {{ now }}
"""

HTML = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>sds {{ trust_domain }}</title></head>
<body style="font: 14px/1.5 sans-serif; color: #1c2430; background: #ffffff; max-width: 46em">
{% if mode == "test" %}
<p>This is a test. Notices of the trust domain <b>{{ trust_domain }}</b> reach you.</p>
{% endif %}
{% for group in groups %}
<h2 style="font-size: 16px; margin: 1.5em 0 .3em">{{ group.title }} ({{ group.count }})</h2>
<ul style="padding-left: 1.2em; margin: 0">
{% for line in group.lines %}
<li>{% if line.urgent %}<b>urgent:</b> {% endif %}{{ line.text }}
{%- if line.when %}<br><span style="color: #5a6472">{{ line.when }} ({{ line.distance }})
{%- if line.owner %}, owner {{ line.owner }}{% endif %}</span>{% endif %}</li>
{% endfor %}
{% if group.more %}
<li>and {{ group.more }} more: <code>sds notice list --kind {{ group.kind }}</code></li>
{% endif %}
</ul>
{% endfor %}
{% if over %}
<h2 style="font-size: 16px; margin: 1.5em 0 .3em">No longer the case</h2>
<ul style="padding-left: 1.2em; margin: 0">
{% for group in over %}
{% for line in group.lines %}
<li>{{ line.text }} <span style="color: #5a6472">(since {{ line.when }})</span></li>
{% endfor %}
{% if group.more %}
<li>and {{ group.more }} more: <code>sds notice list --kind {{ group.kind }} --over</code></li>
{% endif %}
{% endfor %}
</ul>
{% endif %}
<p style="color: #5a6472">sds of {{ trust_domain }}, {{ server }}, {{ now }}</p>
</body></html>
"""

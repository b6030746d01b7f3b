"""Jinja2, set up once: everything is escaped, an unknown name is an error, and templates come from this package."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sds.admin.pages import text
from sds.admin.pages.api import segment

TIME = Markup('<time datetime="{}" title="{}">{}</time>')


def environment() -> Environment:
    env = Environment(
        loader=PackageLoader("sds.admin.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        enable_async=False,
    )
    env.filters.update(
        seg=segment,
        duration=text.duration,
        short=text.short,
        split_id=text.split_id,
        day=_day,
        qs=query,
        exact=_exact,
        pretty=_pretty,
    )
    env.globals.update(plural=text.plural)
    return env


def when(value: str | datetime | None, now: datetime) -> Markup | str:
    """A time relative to now, with the exact one on hover and for machines. None: nothing."""
    if value is None:
        return ""
    at = text.parse_time(value)
    return TIME.format(text.machine(at), text.exact(at), text.relative(at, now))


def query(params: object) -> str:
    """Pairs, or a mapping, as a query string with its question mark; "" if there are none."""
    pairs: Any = params.items() if isinstance(params, dict) else params
    found = urlencode([(name, value) for name, value in pairs if value not in {"", None}])
    return f"?{found}" if found else ""


def _day(value: str | datetime) -> str:
    return text.parse_time(value).strftime("%Y-%m-%d")


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _exact(value: str | datetime) -> str:
    return text.exact(text.parse_time(value))

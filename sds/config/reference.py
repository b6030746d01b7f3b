"""docs/config.md, made from the models so that it cannot lag behind them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import timedelta
from typing import cast

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sds.config.agent import AgentConfig
from sds.config.load import AGENT_PREFIX, SERVER_PREFIX, env_name
from sds.config.server import ServerConfig
from sds.config.types import Section, tables_by_name
from sds.durations import format_duration

_INTRO = """\
# Configuration

Made from the source by `sds.config.render_reference`; a test keeps it current. Do not edit it by hand.

`sds server run` and `sds agent run` read one TOML file (`--config FILE`, or `SDS_SERVER_CONFIG` / `SDS_AGENT_CONFIG`),
then the environment, then their flags: later ones win. All mistakes are reported at once, each with its key; unknown
keys are refused, in the environment too. `sds config check` does just that.

* Durations are written `1h30m`, `30s`, `500ms`; a bare number is seconds.
* Addresses are `host:port`; IPv6 addresses stand in brackets, `[::1]:8443`.
* Lists are written `["one", "two"]`, in the environment `one,two`.
* `NAME` in a key stands for names of your own; in the environment they are in small letters.
* Relative paths start at the folder the program is started in. `DATA_DIR` below stands for the value of `data_dir`.
* Secrets are given as files. A database URL with a password in it is accepted and shown nowhere.
* SIGHUP re-reads file and environment; keys marked \N{CLOCKWISE OPEN CIRCLE ARROW} then take effect. The others need
  a restart, and the log says which.
"""


def render_reference() -> str:
    """The whole page, ending in one newline."""
    lines = [_INTRO]
    for title, model, prefix in (
        ("Server", ServerConfig, SERVER_PREFIX),
        ("Agent", AgentConfig, AGENT_PREFIX),
    ):
        lines += [f"## {title}", "", _about(model), "", *_table(model, prefix, "")]
    return "\n".join(lines).rstrip() + "\n"


def _table(model: type[Section], prefix: str, above: str) -> Iterator[str]:
    """The keys of one table, then the tables below it."""
    below: list[tuple[str, str, type[Section]]] = []
    rows: list[str] = []
    for name, field in model.model_fields.items():
        if _is_table(field):
            below.append((f"{above}{name}.", "", cast("type[Section]", field.annotation)))
        elif named := tables_by_name(field.annotation):
            below.append((f"{above}{name}.NAME.", _mark(field), named))
        else:
            rows.append(_row(above + name, field, prefix))
    if rows:
        yield from ("| key | default | meaning | environment |", "|---|---|---|---|", *rows, "")
    for dotted, mark, section in below:
        if not all(_is_table(field) for field in section.model_fields.values()):
            yield from (f"### `[{dotted[:-1]}]`{mark}", "", _about(section), "")
        yield from _table(section, prefix, dotted)


def _row(dotted: str, field: FieldInfo, prefix: str) -> str:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    default, meaning = _default(field, extra.get("shown")), (field.description or "") + _range(field)
    return f"| `{dotted}`{_mark(field)} | {default} | {meaning} | `{env_name(prefix, dotted)}` |"


def _mark(field: FieldInfo) -> str:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return " \N{CLOCKWISE OPEN CIRCLE ARROW}" if extra.get("reload") else ""


def _default(field: FieldInfo, shown: object) -> str:
    if shown is not None:
        return str(shown)
    if field.default is PydanticUndefined:
        return "**required**"
    return f"`{_text(field.default)}`"


def _range(field: FieldInfo) -> str:
    """The bounds, as pydantic checks them."""
    bounds = {
        word: getattr(rule, word) for rule in field.metadata for word in ("gt", "ge", "lt", "le") if hasattr(rule, word)
    }
    low, high = bounds.get("ge"), bounds.get("le")
    if low is not None and high is not None:
        return f" From {_text(low)} to {_text(high)}."
    if low is not None:
        return f" At least {_text(low)}."
    if "gt" in bounds:
        return f" More than {_text(bounds['gt'])}" + (f", at most {_text(high)}." if high is not None else ".")
    return f" At most {_text(high)}." if high is not None else ""


def _text(value: object) -> str:
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _is_table(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, Section)


def _about(model: type[Section]) -> str:
    return inspect.cleandoc(model.__doc__ or "")

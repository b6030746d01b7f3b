"""Files of secrets, as they are configured."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Coroutine
from typing import Any

from attestation.selector import parse_selectors
from sds.agent import options
from sds.agent.errors import CannotStart
from sds.agent.secrets.desk import LocalSecrets
from sds.agent.sinks.file import FilePlace
from sds.agent.sinks.observe import SinkEvents
from sds.agent.sinks.sink import FileSink, SinkPlan
from sds.agent.sinks.template import Content, Field, RenderFailed, Template
from sds.agent.wiring.core import Core
from sds.config import AgentConfig
from sds.config.sinks import SinkSection

_MAX_TEMPLATE = 1024 * 1024


def sink_plans(config: AgentConfig) -> list[SinkPlan]:
    """Raises CannotStart: what is wrong with a sink is told before anything is served."""
    return [_plan(name, section) for name, section in config.sinks.items()]


def sink_loops(core: Core, plans: list[SinkPlan], secrets: LocalSecrets) -> list[tuple[str, Coroutine[Any, Any, None]]]:
    events = SinkEvents(core.metrics, [plan.name for plan in plans])
    backoff = options.backoff(core.config)
    return [
        (
            f"the file of secrets {plan.name}",
            FileSink(plan, secrets, core.executors[0], backoff, core.clock.jitter, events, core.log).run(),
        )
        for plan in plans
    ]


def _plan(name: str, section: SinkSection) -> SinkPlan:
    where = f"sinks.{name}"
    return SinkPlan(
        name,
        section.secrets,
        parse_selectors(section.selectors),
        _content(where, section),
        FilePlace(
            section.path,
            section.mode,
            _number(f"{where}.owner", section.owner, lambda text: pwd.getpwnam(text).pw_uid),
            _number(f"{where}.group", section.group, lambda text: grp.getgrnam(text).gr_gid),
            section.in_memory,
        ),
        section.remove,
        section.command,
        section.command_timeout.total_seconds(),
    )


def _content(where: str, section: SinkSection) -> Content:
    if section.template is None:
        return Field(section.secrets[0], section.field or "")
    try:
        if section.template.stat().st_size > _MAX_TEMPLATE:
            raise CannotStart(f"{where}.template has more than {_MAX_TEMPLATE} bytes")
        return Template(section.template.read_text())
    except (OSError, UnicodeDecodeError, RenderFailed) as error:
        problem = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
        raise CannotStart(
            f"{where}.template {section.template}: {error if isinstance(error, RenderFailed) else problem}"
        ) from None


def _number(where: str, text: str, find: Any) -> int | None:
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 11:
        return int(text)
    try:
        return int(find(text))
    except KeyError:
        raise CannotStart(f"{where}: there is no {text!r} on this host") from None

"""Named secrets: who wants which, their values, and the stream that they come on."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from sds.agent import options
from sds.agent.secrets.desk import LocalSecrets
from sds.agent.secrets.link import SecretsLink
from sds.agent.secrets.observe import SecretEvents, watch_secrets
from sds.agent.wiring.core import Core


@dataclass(frozen=True, slots=True)
class Secrets:
    """What brings secrets and lets them go. Each runs for ever."""

    local: LocalSecrets
    link: SecretsLink

    def loops(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        return [("secrets of the server", self.link.run()), ("ends of secrets", self.local.run())]


def local_secrets(core: Core) -> Secrets:
    config, clock, shelf = core.config, core.clock, core.shelf
    observer = SecretEvents(core.metrics, core.reporter, clock, core.log)
    wanted = options.secrets(config)
    local = LocalSecrets(core.cache, shelf, observer, clock, wanted)
    link = SecretsLink(
        core.upstream,
        shelf,
        local.apply,
        local.give_up,
        max_bytes=wanted.max_bytes,
        backoff=options.backoff(config),
        observer=observer,
        clock=clock,
        log=core.log,
    )

    def changed() -> None:
        link.stir()
        local.stir()

    core.interests.on_change(changed)
    watch_secrets(core.metrics, local.list)
    return Secrets(local, link)

"""The HTTP API by which applications read secrets, where a socket for it is configured."""

from __future__ import annotations

from pathlib import Path

from sds.agent import options
from sds.agent.api.clients import Clients, Values
from sds.agent.api.listener import ApiListener, http_behind_relay
from sds.agent.api.observe import ApiEvents
from sds.agent.api.routes import SecretsApi
from sds.agent.peer import LocalCallers
from sds.agent.wiring.core import Core
from sds.net.listen import UnixListener
from sds.net.process import LocalProcess
from sds.net.relay import Relay


def api_listener(
    core: Core,
    listening: UnixListener,
    relay: Relay[LocalProcess],
    callers: LocalCallers,
    values: Values,
    private: Path,
) -> ApiListener:
    events = ApiEvents(core.metrics, core.clock, core.log)
    clients = Clients(relay.lookup, callers.identify, values)
    api = SecretsApi(clients, events, core.clock, patience=options.delivery(core.config).patience)
    http = http_behind_relay(api.app(), private, core.config.limits.max_connections)
    return ApiListener(listening, relay, http)

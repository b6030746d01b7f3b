"""The agent, put together in the order in which its parts need each other. Nothing is made outside this package."""

from __future__ import annotations

from sds.agent.agent import Agent, Parts
from sds.agent.api.listener import BACKEND
from sds.agent.datadir import DataFolder
from sds.agent.sinks.sink import SinkPlan
from sds.agent.sockets import Sockets, closed_folder, open_sockets
from sds.agent.wiring.api import api_listener
from sds.agent.wiring.core import Core, open_core, open_identity
from sds.agent.wiring.issuing import issuing
from sds.agent.wiring.local import (
    GRPC_SOCKET,
    http_servers,
    local_backend,
    local_callers,
    local_relay,
    remembered_subscriptions,
)
from sds.agent.wiring.secrets import local_secrets
from sds.agent.wiring.sinks import sink_loops, sink_plans
from sds.clock import Clock
from sds.config import AgentConfig
from sds.logs import get_logger
from sds.net.folder import private_folder


async def build(config: AgentConfig, clock: Clock, folder: DataFolder, descriptors: int) -> Agent:
    """An agent that is ready to start; it attests here if it has to. `descriptors`: how many it may open.

    Raises AgentError, NetError, OSError. The sockets come first: a token must not be spent on a start that then fails.
    """
    log = get_logger("sds.agent")
    plans = sink_plans(config)
    sockets = open_sockets(config)
    try:
        if (closed := closed_folder(config.socket, config.socket_mode)) is not None:
            log.warning(
                "sidecars of other users cannot reach the socket, for only its owner may pass this folder; put the "
                "socket elsewhere with --socket (e.g. /run/sds/sds.sock), or set socket_mode to 0600 if that is meant",
                folder=str(closed),
                socket=str(config.socket),
            )
        enroller, identity, returning = await open_identity(config, clock, folder, log)
        core = open_core(config, clock, folder, log, enroller, identity, returning=returning)
        return _assemble(core, sockets, plans, descriptors)
    except BaseException:
        sockets.close()
        raise


def _assemble(core: Core, sockets: Sockets, plans: list[SinkPlan], descriptors: int) -> Agent:
    requests, secrets = issuing(core), local_secrets(core)
    subscriptions = remembered_subscriptions(core)
    private = private_folder(core.folder.path)
    relay = local_relay(core, sockets.public.socket, private / GRPC_SOCKET, descriptors)
    api_relay = local_relay(core, sockets.api.socket, private / BACKEND, descriptors) if sockets.api else None
    callers = local_callers(core, [one for one in (relay, api_relay) if one is not None], subscriptions)
    api = None
    if sockets.api is not None and api_relay is not None:
        api = api_listener(core, sockets.api, api_relay, callers, secrets.local, private)
    backend, workload_api = local_backend(core, callers, private, requests.tokens)
    parts = Parts(
        backend=backend,
        workload_api=workload_api,
        relay=relay,
        listener=sockets.public,
        api=api,
        http=http_servers(core, sockets, requests.own, callers, secrets.local),
        loops=[
            ("the connection to the server", core.upstream.run()),
            *requests.loops(),
            *secrets.loops(),
            *sink_loops(core, plans, secrets.local),
            ("attestation again", callers.run()),
            ("delivery reports", core.reporter.run()),
            ("the spool of events", core.backlog.run()),
            ("checkpoints of the audit log", core.witness.run()),
            ("remembered subscriptions", subscriptions.run()),
        ],
        streams=core.streams,
        subscriptions=subscriptions,
        folder=core.folder,
        backlog=core.backlog,
        private_folder=private,
        executors=core.executors,
        log=core.log,
    )
    return Agent(parts, core.config.drain_timeout.total_seconds())

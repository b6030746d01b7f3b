"""The options that choose agents and streams, shared by what lists and what exports them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import typer

from sds.cli import parameters
from sds.cli.option_groups import option, option_group, text


class Protocol(StrEnum):
    SOTW = "sotw"
    DELTA = "delta"
    ADS_SOTW = "ads-sotw"
    ADS_DELTA = "ads-delta"
    WORKLOAD_API = "workload-api"


class StreamOrder(StrEnum):
    AGENT = "agent"
    AGENT_BACKWARDS = "-agent"
    NEWEST_LAST = "opened"
    NEWEST_FIRST = "-opened"
    LAG = "lag"
    LAG_FIRST = "-lag"


class AgentOrder(StrEnum):
    NAME = "spiffe_id"
    NAME_BACKWARDS = "-spiffe_id"
    ATTESTED = "attested"
    ATTESTED_LAST = "-attested"
    EXPIRES = "expires"
    EXPIRES_LAST = "-expires"


def _chosen(_: typer.Context, *, sort: StrEnum | None, **given: Any) -> dict[str, Any]:
    return {**given, "sort": None if sort is None else sort.value}


with_agents = option_group(
    "chosen",
    {
        "banned": option(bool | None, "--banned/--not-banned", help="Only those."),
        "attestation_type": text("--attested-by", "Only that have proved themselves so, e.g. join_token.", "TYPE"),
        "below": text("--below", "Only this identity and all below it, by whole path segments.", "ID"),
        "version": text("--running", "Only that run this version.", "VERSION"),
        "downstream": option(
            bool | None, "--downstream/--not-downstream", help="Only servers below this one, or no such."
        ),
        "silent_since": option(
            datetime | None, "--silent-since", help="Only not heard of from then on.", metavar="TIME",
            parser=parameters.time,
        ),
        "sort": option(AgentOrder | None, "--sort", help="By name, attestation or expiry; a minus turns it round."),
    },
    _chosen,
)  # fmt: skip
"""``chosen``: which agents, as AgentFilter has it."""

with_streams = option_group(
    "chosen",
    {
        "agent_id": text("--agent-id", "Only of this agent.", "ID"),
        "spiffe_id": text("--spiffe-id", "Only with this identity.", "ID"),
        "node_id": text("--node-id", "Only of this node ID."),
        "protocol": option(Protocol | None, "--protocol", help="Only that speak so."),
        "resource": text("--resource", "Only that asked for this name.", "NAME"),
        "nacked": option(
            bool | None, "--nacked/--not-nacked", help="Only that refused the newest of anything, or not."
        ),
        "behind": option(bool | None, "--behind/--not-behind", help="Only that owe an answer, or that owe none."),
        "sort": option(StreamOrder | None, "--sort", help="By agent, age or lag; a minus turns it round."),
    },
    _chosen,
)
"""``chosen``: which streams, as StreamFilter has it."""

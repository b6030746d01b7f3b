"""What the audit log of such a company says beside the certificates: common things often, rare ones seldom."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta

from benchmarks.seed.company import NACK, Company
from sds.audit.event import Actor, ActorKind, AuditEvent, Json, Outcome, Target
from sds.server.events import Events, agent_actor

# Of a thousand events.
SHARES = {
    "workload.attested": 560,
    "secret.deliver": 260,
    "agent.renew": 60,
    "workload.refused": 40,
    "delivery.nacked": 20,
    "secret.refused": 20,
    "entry.update": 15,
    "grant.create": 10,
    "secret.put": 10,
    "admin.read": 5,
}


def events(company: Company, maker: Events, count: int, start: datetime, end: datetime) -> Iterator[AuditEvent]:
    """`count` of them, evenly from `start` to `end`."""
    dice = random.Random("life")
    actions = dice.choices(list(SHARES), weights=list(SHARES.values()), k=count)
    step = (end - start) / max(count, 1)
    for place, action in enumerate(actions):
        yield _event(company, maker, action, start + place * step, dice)


def _event(company: Company, maker: Events, action: str, time: datetime, dice: random.Random) -> AuditEvent:
    number = dice.randrange(company.sizes.entries)
    spec = company.entry(number)
    agent = number % company.sizes.agents
    by_agent = agent_actor(company.agent_id(agent), company.address(agent))
    by_admin = Actor(ActorKind.ADMIN, f"uid:{1000 + number % 20}", "unix")
    request_id = f"{dice.getrandbits(128):032x}"
    workload, secret = Target("workload", str(spec.spiffe_id)), company.secret(number % company.sizes.secrets)
    process = company.process(number)
    facts: Json = {"pid": process.pid, "uid": process.uid, "path": process.path}
    selectors: Json = [f"unix:uid:{process.uid}", f"unix:path:{process.path}"]
    details: dict[str, Json]
    match action:
        case "workload.attested":
            details = {"process": facts, "selectors": selectors, "spiffe_ids": [str(spec.spiffe_id)]}
            return maker.make(time, action, by_agent, workload, request_id=request_id, details=details)
        case "workload.refused":
            return maker.make(
                time, action, by_agent, Target("process", str(process.pid)), outcome=Outcome.REFUSED,
                reason="no entry matches", request_id=request_id, details={"process": facts, "selectors": selectors},
            )  # fmt: skip
        case "delivery.nacked":
            return maker.make(
                time, action, by_agent, workload, outcome=Outcome.FAILURE, reason=NACK, request_id=request_id,
                details={"stream": f"s{number}", "resource": str(spec.spiffe_id)},
            )  # fmt: skip
        case "secret.deliver" | "secret.refused":
            refused = action == "secret.refused"
            return maker.make(
                time, action, by_agent, Target("secret", secret.name), request_id=request_id,
                outcome=Outcome.REFUSED if refused else Outcome.SUCCESS,
                reason="no grant covers this identity" if refused else "",
                details={"version": f"{number % 9 + 1}.{number:08x}", "spiffe_id": str(spec.spiffe_id)},
            )  # fmt: skip
        case "agent.renew":
            until = (time + timedelta(days=1)).isoformat()
            details = {"serial": request_id, "not_after": until}
            return maker.make(
                time, action, by_agent, Target("agent", by_agent.id), request_id=request_id, details=details
            )
        case "entry.update":
            details = {"before": {"dns_names": ()}, "after": {"dns_names": spec.dns_names}}
            return maker.make(time, action, by_admin, Target("entry", f"{number:032x}"), request_id=request_id,
                              details=details)  # fmt: skip
        case _:
            return maker.make(time, action, by_admin, Target("secret", secret.name), request_id=request_id)

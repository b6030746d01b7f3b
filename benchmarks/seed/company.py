"""Whose workloads they are, and what they are called. The same for the same sizes, so that runs can be compared."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from attestation.entry import EntrySpec
from attestation.selector import parse_selectors
from attestation.spiffe_id import SpiffeId, TrustDomain
from sds.secrets.grant import Below, Exactly, Labelled, Subject
from sds.secrets.secret import EmbeddedSource, SecretKind, SecretSpec
from sds.store.records import AgentRecord, ProcessRecord, ResourceRecord, StreamRecord

TEAMS = ("payments", "search", "identity", "checkout", "catalog", "ledger", "mail", "risk", "media", "platform")
TIERS = ("frontend", "backend", "batch", "edge")
SERVICES = ("api", "worker", "gateway", "cache", "index", "stream", "report", "sync")
PROGRAMS = ("/usr/local/bin/envoy", "/opt/mosn/mosn", "/usr/bin/nginx", "/usr/lib/jvm/bin/java")
NACK = "Failed to load certificate chain from <inline>: PEM routines::no start line"


@dataclass(frozen=True, slots=True)
class Sizes:
    """What there is of each. Certificates and events are asked for; the rest follows from the certificates."""

    certificates: int
    events: int

    @property
    def entries(self) -> int:
        """Each renewed its certificate fifty times in the last day."""
        return max(10, self.certificates // 50)

    @property
    def agents(self) -> int:
        return max(2, self.entries // 20)

    @property
    def secrets(self) -> int:
        return max(3, self.entries // 10)


@dataclass(frozen=True, slots=True)
class Company:
    """Everything by its number, from 0."""

    trust_domain: TrustDomain
    sizes: Sizes

    def agent_id(self, number: int) -> SpiffeId:
        return SpiffeId(self.trust_domain, f"/sds/agent/join_token/node-{number:04d}")

    def address(self, number: int) -> str:
        return f"10.{20 + number // 65_536}.{number // 256 % 256}.{number % 256}"

    def agents(self, now: datetime) -> Iterator[AgentRecord]:
        for number in range(self.sizes.agents):
            dice = random.Random(f"agent {number}")
            yield AgentRecord(
                spiffe_id=self.agent_id(number),
                attestation_type="join_token",
                selectors=parse_selectors((f"join_token:node:node-{number:04d}",)),
                serial=dice.randbytes(20).hex(),
                not_after=now + timedelta(hours=dice.uniform(2, 24)),
                key_hash=dice.randbytes(32).hex(),
                attested_at=now - timedelta(days=dice.uniform(1, 90)),
                last_seen=now - timedelta(seconds=dice.uniform(0, 30)),
                address=self.address(number),
                version="0.1.0",
            )

    def entry(self, number: int) -> EntrySpec:
        team, tier = TEAMS[number % len(TEAMS)], TIERS[number // 10 % len(TIERS)]
        service = SERVICES[number // 40 % len(SERVICES)]
        return EntrySpec(
            spiffe_id=SpiffeId(self.trust_domain, f"/{team}/{tier}/{service}-{number:05d}"),
            parent_id=self.agent_id(number % self.sizes.agents),
            selectors=parse_selectors((f"unix:uid:{2000 + number}", f"unix:path:{self.program(number)}")),
            dns_names=(f"{service}-{number:05d}.{team}.internal",),
            owner=f"{team}@example.com",
            labels={"team": team, "tier": tier, "env": ("production", "staging")[number % 5 == 0]},
        )

    def program(self, number: int) -> str:
        return PROGRAMS[number % len(PROGRAMS)]

    def process(self, number: int) -> ProcessRecord:
        return ProcessRecord(1000 + number * 7 % 60_000, 2000 + number, self.program(number))

    def secret(self, number: int) -> SecretSpec:
        team = TEAMS[number % len(TEAMS)]
        kind = (SecretKind.GENERIC, SecretKind.MAP, SecretKind.CERTIFICATE)[number % 3]
        return SecretSpec(
            f"{team}/secret-{number:04d}", kind, EmbeddedSource(), owner=f"{team}@example.com", labels={"team": team}
        )

    def subjects(self, number: int) -> tuple[Subject, ...]:
        """Who may have secret `number`: each kind of grant is there."""
        team = TEAMS[number % len(TEAMS)]
        below = SpiffeId(self.trust_domain, f"/{team}/{TIERS[number % len(TIERS)]}")
        one = self.entry(number % self.sizes.entries).spiffe_id
        return (Exactly(one), Below(below)) if number % 2 else (Labelled({"team": team, "env": "production"}),)

    def stream(self, number: int, serial: str, now: datetime) -> StreamRecord:
        """The sidecar of entry `number`. One of a hundred refuses what it was sent last."""
        spec, opened = self.entry(number), now - timedelta(minutes=1 + number % 600)
        bad = number % 100 == 99
        version = f"v{serial[:12]}"
        leaf = ResourceRecord(
            str(spec.spiffe_id),
            version,
            "" if bad else version,
            nacked_version=version if bad else "",
            nack_detail=NACK if bad else "",
            sent_at=opened,
            acked_at=None if bad else opened,
            sent_serial=serial,
            acked_serial="" if bad else serial,
        )
        roots = ResourceRecord("ROOTCA", "b1", "b1", sent_at=opened, acked_at=opened, sent_sequence=1, acked_sequence=1)
        return StreamRecord(
            agent_id=spec.parent_id,
            stream_id=f"s{number}",
            protocol=("sotw", "delta", "ads-sotw", "ads-delta")[number % 4],
            process=self.process(number),
            spiffe_ids=(str(spec.spiffe_id),),
            node_id=f"sidecar~{self.address(number)}~{spec.dns_names[0]}",
            opened_at=opened,
            resources=(leaf, roots),
        )

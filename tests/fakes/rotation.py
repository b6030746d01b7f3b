"""Authorities over a real store, put together as the server does, with times that tests choose."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from datetime import timedelta

from attestation.spiffe_id import TrustDomain
from ca.key_manager import KeyManager
from ca.keys import KeyType
from ca.rotation import KindPolicy, RotationPolicy
from ca.serial import random_serial
from ca.upstream import UpstreamAuthority
from ca.upstreams.self_signed import SelfSignedUpstream
from sds.clock import Clock
from sds.rotation.ports import Rules
from sds.rotation.steps import Call
from sds.server.authority.authorities import Authorities, AuthorityParts
from sds.server.authority.maker import AuthorityMaker, AuthorityPolicy
from sds.server.events import Events, system_actor
from sds.server.transactions import Transactions

TD = TrustDomain("example.org")
BACKDATE = timedelta(seconds=10)
HOUR = timedelta(hours=1)
X509_LIFE, JWT_LIFE = timedelta(days=10), timedelta(days=20)
POLICY = RotationPolicy(
    x509=KindPolicy(lead=12 * HOUR, longest=12 * HOUR), jwt=KindPolicy(lead=HOUR, longest=HOUR, wait=HOUR / 6)
)
RULES = Rules(POLICY, timedelta(seconds=5), Call(system_actor(), ""))
ASKED = Call(system_actor(), "request-1")


class Watching:
    """Implements sds.rotation.ports.RotationObserver: what it was told."""

    def __init__(self) -> None:
        self.steps: Counter[tuple[str, str, str]] = Counter()
        self.gates: dict[str, tuple[int, int]] = {}
        self.problems: dict[str, bool] = {}

    def rotation_step(self, kind: str, step: str, outcome: str) -> None:
        self.steps[kind, step, outcome] += 1

    def rotation_gate(self, kind: str, total: int, acked: int) -> None:
        self.gates[kind] = (total, acked)

    def rotation_problem(self, kind: str, present: bool) -> None:
        self.problems[kind] = present


def serials() -> int:
    return random_serial(os.urandom)


def make_authorities(
    store: Transactions,
    keys: KeyManager,
    events: Events,
    clock: Clock,
    *,
    trust_domain: TrustDomain = TD,
    policy: RotationPolicy = POLICY,
    upstream: UpstreamAuthority | None = None,
    observer: Watching | None = None,
    life: timedelta = X509_LIFE,
) -> Authorities:
    made = AuthorityPolicy(trust_domain, KeyType.ECDSA_P256, life, BACKDATE, jwt_lifetime=JWT_LIFE)
    maker = AuthorityMaker(keys, upstream or SelfSignedUpstream(serials, BACKDATE), made, serials, clock)
    rules = replace(RULES, policy=policy)
    parts = AuthorityParts(store, keys, maker, events, rules, observer or Watching(), trust_domain, clock)
    return Authorities(parts)

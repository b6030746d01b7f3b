"""The pages over the fake services: everything there is of each noun, and any free text that a test wants in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType

from starlette.types import Scope

from attestation.entry import EntrySpec
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId
from ca.authority import AuthorityKind
from ca.gate import Holder, Lag
from ca.masked import Masked
from ca.revocation import Reason
from sds.admin.access.roles import ALL_RIGHTS, Right
from sds.admin.errors import NotAdmitted
from sds.admin.services import NOBODY, AdminCall, AgentInfo, Caller, CallerKind, ProcessInfo, StreamInfo, local_caller
from sds.admin.services.revocations import BlastRadius, OutOfReach, RevocationOrder, Unreached
from sds.admin.services.secrets import PutOrder
from sds.audit.event import Outcome
from sds.clock import Clock
from sds.secrets.grant import Below, Exactly, Labelled
from sds.secrets.secret import EmbeddedSource, KvSource, SecretKind, SecretSpec, SecretState
from sds.store.records import ProcessRecord, ResourceRecord, StreamRecord
from sds.store.revocation.records import BlockKind
from tests.fakes.admin_services import FakeServices

CALL = AdminCall(local_caller(0, 1, "root"), "seeding00", ALL_RIGHTS)
AGENT = SpiffeId.parse("spiffe://example.org/sds/agent/join_token/node-7")
SILENT = SpiffeId.parse("spiffe://example.org/sds/agent/join_token/node-9")
NAMES = ("payments/api", "payments/ledger", "web/frontend", "web/images", "batch/report")
SERIALS = ("4f" * 10, "1c" * 10, "99" * 10)


@dataclass(frozen=True, slots=True)
class Texts:
    """What people, agents and sidecars wrote: `note` wherever any text may stand, `word` where only some characters."""

    note: str = "the quarterly report"
    nack: str = "Failed to load certificate chain from <inline>: key values mismatch"


class Somebody:
    """A door by which everybody is who a test says; nobody without rights."""

    def __init__(self, *rights: Right, csrf: str = "") -> None:
        self.rights = rights or ALL_RIGHTS
        self.csrf = csrf
        self.name = "ada"

    def nobody(self, scope: Scope) -> Caller:
        return NOBODY

    async def enter(self, scope: Scope, call: AdminCall) -> AdminCall:
        if not self.rights:
            raise NotAdmitted("log in first")
        caller = Caller(CallerKind.OIDC, "oidc:https://login.example.org#ada", self.name, "10.0.0.9")
        return replace(call, caller=caller, rights=self.rights, csrf=self.csrf, subjects=(caller.id,))


async def furnish(fakes: FakeServices, clock: Clock, texts: Texts | None = None) -> None:
    """Something of every noun."""
    texts = texts or Texts()
    await _entries(fakes, texts)
    _fleet(fakes, clock, texts)
    await _secrets(fakes, clock, texts)
    await _authorities(fakes, clock, texts)
    await _revocations(fakes, clock, texts)
    await fakes.audit.append(CALL, "agent.attest", texts.note, Outcome.REFUSED, texts.note)


async def _entries(fakes: FakeServices, texts: Texts) -> None:
    for number, name in enumerate(NAMES):
        spec = EntrySpec(
            spiffe_id=SpiffeId.parse(f"spiffe://example.org/{name}"),
            parent_id=AGENT if number % 2 == 0 else SILENT,
            selectors=frozenset({Selector.parse(f"unix:uid:{1000 + number}"), Selector("unix", f"path:/{texts.note}")}),
            owner=texts.note if number == 0 else "team-" + name.split("/", maxsplit=1)[0],
            hint=texts.note if number == 0 else "",
            labels=MappingProxyType({"team": name.split("/", maxsplit=1)[0]}),
            x509_svid_ttl=timedelta(hours=1) if number else None,
            dns_names=(f"{name.split('/')[1]}.example.org",),
        )
        await fakes.entries.create(CALL, spec)


def _fleet(fakes: FakeServices, clock: Clock, texts: Texts) -> None:
    now = clock.now()
    for spiffe_id, connected in ((AGENT, True), (SILENT, False)):
        fakes.agents.rows[spiffe_id] = AgentInfo(
            spiffe_id=spiffe_id,
            attestation_type="join_token",
            selectors=frozenset({Selector("join_token", texts.note)}),
            serial="0a" * 10,
            not_after=now + timedelta(hours=5),
            attested_at=now - timedelta(days=3),
            renewed_at=now - timedelta(minutes=40),
            last_seen=now - timedelta(seconds=3 if connected else 5400),
            banned_at=None,
            address="10.0.4.17:48822",
            version=texts.note if not connected else "0.1.0",
            bundle_sequence=2,
            connected=connected,
            entries=3 if connected else 2,
            streams=3 if connected else 0,
        )
    for number, name in enumerate(NAMES[:3]):
        sent = f"{number}a7f3c9e1b2d"
        held = ResourceRecord(
            "default", sent, sent, sent_at=now - timedelta(minutes=12), acked_at=now - timedelta(minutes=12)
        )
        refused = ResourceRecord("ROOTCA", sent, "", sent, texts.nack, now - timedelta(minutes=2), None)
        owing = ResourceRecord("default", "ff00aa1122", sent, sent_at=now - timedelta(seconds=40))
        fakes.streams.rows.append(
            StreamInfo(
                id=f"stream-{number}",
                agent_id=AGENT,
                protocol=("delta", "ads-sotw", "sotw")[number],
                process=ProcessInfo(
                    2211 + number, 1000 + number, "/usr/local/bin/envoy" if number else f"/{texts.note}"
                ),
                spiffe_ids=(f"spiffe://example.org/{name}",),
                node_id=texts.note if number == 0 else f"sidecar~10.0.0.{number}",
                opened_at=now - timedelta(hours=6, minutes=number),
                resources=((held, refused), (held,), (owing,))[number],
            )
        )


async def _secrets(fakes: FakeServices, clock: Clock, texts: Texts) -> None:
    specs = (
        SecretSpec(
            "payments/db", SecretKind.MAP, EmbeddedSource(), owner=texts.note, labels=MappingProxyType({"a": "b"})
        ),
        SecretSpec("web/token", SecretKind.GENERIC, EmbeddedSource(), owner="team-web"),
        SecretSpec(
            "batch/key", SecretKind.GENERIC, KvSource("kv", "batch/key", MappingProxyType({})), owner="team-batch"
        ),
    )
    for spec in specs:
        await fakes.secrets.create(CALL, spec)
    await fakes.secrets.put(CALL, "web/token", PutOrder({"value": Masked(b"never-on-a-page")}))
    await fakes.secrets.put(CALL, "web/token", PutOrder({"value": Masked(b"never-on-a-page-2")}))
    now = clock.now()
    fakes.secrets.states["batch/key"] = SecretState(
        version="", checked_at=now - timedelta(minutes=1), problem=texts.note, problem_code="denied",
        problem_since=now - timedelta(hours=2),
    )  # fmt: skip
    fakes.secrets.watchers["web/token"] = 2
    await fakes.grants.create(CALL, "payments/db", Exactly(SpiffeId.parse("spiffe://example.org/payments/api")))
    await fakes.grants.create(CALL, "web/token", Below(SpiffeId.parse("spiffe://example.org/web")))
    await fakes.grants.create(CALL, "batch/key", Labelled(MappingProxyType({"team": "batch"})))


async def _authorities(fakes: FakeServices, clock: Clock, texts: Texts) -> None:
    now = clock.now()
    old = fakes.authorities.active()
    fakes.authorities.change(
        old, not_before=now - timedelta(days=8), not_after=now + timedelta(days=2), activated_at=now - timedelta(days=7)
    )
    await fakes.authorities.prepare(CALL, AuthorityKind.X509)
    sequence = fakes.authorities.sequence
    fakes.authorities.holders = (
        Holder(AGENT, sequence),
        Holder(AGENT, sequence, stream_id="stream-1", pid=2212, path="/usr/local/bin/envoy"),
        Holder(AGENT, sequence - 1, Lag.NACKED, texts.nack, "stream-0", 2211, f"/{texts.note}"),
        Holder(SILENT, sequence - 1, Lag.NOT_CONNECTED, last_seen=now - timedelta(minutes=90)),
    )


async def _revocations(fakes: FakeServices, clock: Clock, texts: Texts) -> None:
    now = clock.now()
    for number, serial in enumerate(SERIALS):
        fakes.revocations.certificates[serial] = (
            SpiffeId.parse(f"spiffe://example.org/{NAMES[number]}"),
            now + timedelta(minutes=20 + number),
        )
    stream = StreamRecord(AGENT, "stream-2", "sotw", ProcessRecord(2213, 1002, "/usr/bin/mosn"), (), "", now, ())
    fakes.revocations.radius = BlastRadius(
        certificates=1, fresh=1, identities=("spiffe://example.org/payments/api",), identities_total=1,
        agents=(str(AGENT),), agents_total=1, owners=(texts.note,), streams_total=1,
        unreached=(Unreached(stream, OutOfReach.MOSN),), unreached_total=1,
        notes=("Connections that are open now live on until they are closed.", texts.note),
    )  # fmt: skip
    order = RevocationOrder(BlockKind.SERIAL, SERIALS[2], Reason.KEY_COMPROMISE, texts.note, dry_run=False)
    await fakes.revocations.revoke(CALL, order)


def banned(fakes: FakeServices, clock: Clock, texts: Texts) -> None:
    """The silent agent, banned for a reason."""
    agent = fakes.agents.rows[SILENT]
    fakes.agents.rows[SILENT] = replace(agent, banned_at=clock.now(), banned_reason=texts.note)

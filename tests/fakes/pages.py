"""The pages over the fake services: everything there is of each noun, and any free text that a test wants in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from urllib.parse import quote

from starlette.types import Scope

from attestation.entry import EntrySpec
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId
from ca.authority import AuthorityKind
from ca.gate import Holder, Lag
from ca.masked import Masked
from ca.revocation import Reason
from sds.admin.access.roles import ALL_RIGHTS, Right
from sds.admin.errors import NotAuthenticated
from sds.admin.services import NOBODY, AdminCall, AgentInfo, Caller, CallerKind, ProcessInfo, StreamInfo, local_caller
from sds.admin.services.certificates import CertificateInfo, CertificateState
from sds.admin.services.revocations import BlastRadius, OutOfReach, RevocationOrder, Unreached
from sds.admin.services.secrets import PutOrder
from sds.admin.services.statistics import AuditHealth, Expiring, Statistics
from sds.audit.event import Outcome
from sds.clock import Clock
from sds.notices.notice import Kind
from sds.secrets.grant import Below, Exactly, Labelled
from sds.secrets.secret import EmbeddedSource, KvSource, SecretKind, SecretSpec, SecretState
from sds.store.records import CertificateRecord, ProcessRecord, ResourceRecord, StreamRecord
from sds.store.revocation.records import BlockKind
from tests.fakes.admin_notices import notice
from tests.fakes.admin_services import FakeServices

CALL = AdminCall(local_caller(0, 1, "root"), "seeding00", ALL_RIGHTS)
AGENT = SpiffeId.parse("spiffe://example.org/sds/agent/join_token/node-7")
SILENT = SpiffeId.parse("spiffe://example.org/sds/agent/join_token/node-9")
NAMES = ("payments/api", "payments/ledger", "web/frontend", "web/images", "batch/report")
SERIALS = ("4f" * 10, "1c" * 10, "99" * 10)


@dataclass(frozen=True, slots=True)
class Texts:
    """What people, agents and sidecars wrote. A `canary` stands in place of all of it."""

    canary: str = ""

    def __call__(self, usual: str) -> str:
        return self.canary or usual


NACK = "Failed to load certificate chain from <inline>: key values mismatch"


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
            raise NotAuthenticated("log in first", told="")
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
    await fakes.audit.append(
        CALL, "agent.attest", texts(str(SILENT)), Outcome.REFUSED, texts("the join token was used before")
    )
    _issued(fakes, clock, texts)
    fakes.notices.notices = [
        replace(
            notice(1, Kind.CERTIFICATE), subject=texts("spiffe://example.org/web/images"), owner=texts("team-web"),
            text=texts("a certificate expires in 20 min and is not renewed"), due_at=clock.now() + timedelta(minutes=20),
            first_seen_at=clock.now() - timedelta(minutes=5), urgent=True, problem=texts("the mail server answered 451"),
        )
    ]  # fmt: skip
    fakes.services = replace(fakes.services, statistics=Numbers(clock))


async def _entries(fakes: FakeServices, texts: Texts) -> None:
    for number, name in enumerate(NAMES):
        spec = EntrySpec(
            spiffe_id=SpiffeId.parse(f"spiffe://example.org/{name}"),
            parent_id=AGENT if number % 2 == 0 else SILENT,
            selectors=frozenset(
                {Selector.parse(f"unix:uid:{1000 + number}"), Selector("unix", "path:" + texts("/usr/local/bin/envoy"))}
            ),
            owner=texts("team-" + name.split("/", maxsplit=1)[0]),
            hint=texts(""),
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
            selectors=frozenset({Selector("join_token", texts("uuid:6f2c"))}),
            serial="0a" * 10,
            not_after=now + timedelta(hours=5),
            attested_at=now - timedelta(days=3),
            renewed_at=now - timedelta(minutes=40),
            last_seen=now - timedelta(seconds=3 if connected else 5400),
            banned_at=None,
            address="10.0.4.17:48822",
            version=texts("0.1.0"),
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
        refused = ResourceRecord("ROOTCA", sent, "", sent, texts(NACK), now - timedelta(minutes=2), None)
        owing = ResourceRecord("default", "ff00aa1122", sent, sent_at=now - timedelta(seconds=40))
        fakes.streams.rows.append(
            StreamInfo(
                id=f"stream-{number}",
                agent_id=AGENT,
                protocol=("delta", "ads-sotw", "sotw")[number],
                process=ProcessInfo(2211 + number, 1000 + number, texts("/usr/local/bin/envoy")),
                spiffe_ids=(f"spiffe://example.org/{name}",),
                node_id=texts(f"sidecar~10.0.0.{number}"),
                opened_at=now - timedelta(hours=6, minutes=number),
                resources=((held, refused), (held,), (owing,))[number],
            )
        )


async def _secrets(fakes: FakeServices, clock: Clock, texts: Texts) -> None:
    specs = (
        SecretSpec(
            "payments/db",
            SecretKind.MAP,
            EmbeddedSource(),
            owner=texts("team-payments"),
            labels=MappingProxyType({"a": "b"}),
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
        version="", checked_at=now - timedelta(minutes=1), problem=texts("vault answered 403: permission denied"), problem_code="denied",
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
        Holder(AGENT, sequence - 1, Lag.NACKED, texts(NACK), "stream-0", 2211, texts("/usr/local/bin/envoy")),
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
        agents=(str(AGENT),), agents_total=1, owners=(texts("team-payments"),), streams_total=1,
        unreached=(Unreached(stream, OutOfReach.MOSN),), unreached_total=1,
        notes=("Connections that are open now live on until they are closed.", texts("Sidecars get new lists at once.")),
    )  # fmt: skip
    order = RevocationOrder(BlockKind.SERIAL, SERIALS[2], Reason.KEY_COMPROMISE, texts("INC-2041"), dry_run=False)
    await fakes.revocations.revoke(CALL, order)


def _issued(fakes: FakeServices, clock: Clock, texts: Texts) -> None:
    now = clock.now()
    for number, (serial, name) in enumerate(zip(SERIALS, NAMES, strict=False)):
        record = CertificateRecord(
            serial=serial, spiffe_id=SpiffeId.parse(f"spiffe://example.org/{name}"), key_hash=f"{number}b" * 32,
            profile="workload", authority_id=fakes.authorities.active().id, not_before=now - timedelta(minutes=30),
            not_after=now + timedelta(minutes=30 * (number + 1)), requested_at=now - timedelta(minutes=30),
            entry_id=next(iter(fakes.entries.rows)), entry_revision=1, agent_id=AGENT,
            process=ProcessRecord(2211 + number, 1000, texts("/usr/local/bin/envoy")),
            dns_names=(texts("orders.internal"),), issued_at=now - timedelta(minutes=30),
        )  # fmt: skip
        state = CertificateState.REVOKED if number == 2 else CertificateState.ACTIVE
        fakes.certificates.rows.append(
            CertificateInfo(record, state, texts("team-web"), MappingProxyType({"team": texts("web")}))
        )
        fakes.certificates.chains[serial] = texts("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")


class Numbers:
    """Statistics of a morning."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def overview(self, call: AdminCall) -> Statistics:
        now = self._clock.now()
        wave = tuple(40 + (minute * 37) % 29 + (60 if minute % 20 == 7 else 0) for minute in range(60))
        refused = tuple(9 if minute == 41 else 1 if minute % 17 == 0 else 0 for minute in range(60))
        quarter = timedelta(minutes=15)
        ends = (12, 30, 84, 210, 160, 140, 90, 71, 64, 40, 33, 20, 18, 11, 6, 2)
        return Statistics(
            at=now, entries=1284, identities=1031, certificates=2961, agents=212, agents_connected=211, agents_silent=1,
            agents_banned=0, streams=1930, streams_nacked=1, streams_behind=3, secrets=48, secrets_in_trouble=1,
            grants=117, issued_a_minute=wave, refused_a_minute=refused,
            expiring=tuple(Expiring(now + quarter * n, now + quarter * (n + 1), each) for n, each in enumerate(ends)),
            rotation="waiting",
            audit=AuditHealth(1_204_331, now - timedelta(seconds=1), 2, 2, 0, 0),
        )  # fmt: skip


def banned(fakes: FakeServices, clock: Clock, texts: Texts) -> None:
    """The silent agent, banned for a reason."""
    agent = fakes.agents.rows[SILENT]
    fakes.agents.rows[SILENT] = replace(agent, banned_at=clock.now(), banned_reason=texts("lost laptop"))


def every_page(fakes: FakeServices) -> dict[str, str]:
    """The path of every page, over what `furnish` put there, by a short name."""
    agent, entry = quote(str(AGENT), safe=""), next(iter(fakes.entries.rows))
    active = fakes.authorities.active().id
    prepared = next(key for key, one in fakes.authorities.slots.items() if one.state == "prepared")
    return {
        "overview": "/",
        "certificates": "/certificates",
        "certificate": f"/certificates/{SERIALS[0]}",
        "workloads": "/workloads",
        "agents": "/agents",
        "agent": f"/agents/{agent}",
        "agent-ban": f"/agents/{agent}/confirm?deed=ban",
        "entries": "/entries",
        "entry": f"/entries/{entry}",
        "entry-new": "/entries/new",
        "entry-edit": f"/entries/{entry}/edit",
        "entry-delete": f"/entries/{entry}/delete",
        "explain": "/explain?selectors=unix%3Auid%3A1000",
        "secrets": "/secrets",
        "secret": "/secrets/web%2Ftoken",
        "secret-delete": "/secrets/web%2Ftoken/confirm",
        "grants": "/grants?secret=web/token",
        "matrix": "/grants",
        "authorities": "/authorities",
        "authority": f"/authorities/{prepared}",
        "authority-activate": f"/authorities/{prepared}/activate",
        "authority-revoke": f"/authorities/{active}/revoke",
        "revoke": f"/revoke?kind=serial&value={SERIALS[0]}",
        "blocks": "/blocks",
        "block": f"/blocks/{next(iter(fakes.revocations.standing))}",
        "audit": "/audit",
        "event": "/audit/3",
        "access": "/access",
        "notices": "/notices",
        "login": "/login?failed=1&next=%2Fentries",
        "login-no-role": "/login?failed=1&why=role",
        "nothing": "/entries/there-is-none",
    }

"""What a dry run says: who holds what is concerned, whose it is, and whom a list does not reach. On both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ca.authority import AuthorityState
from ca.bundle import TrustBundle
from ca.revocation import Reason
from sds.admin.services.revocations import MAX_LISTED, BlastRadius, OutOfReach, RevocationOrder
from sds.delivery.resource import SpiffeValidator, TrustedCa, make_resource
from sds.server.downstream.lists import note_issuer
from sds.server.revocation.blast import survey
from sds.store.errors import NotFound
from sds.store.records import ProcessRecord, ResourceRecord, StreamRecord
from sds.store.revocation.records import BlockKind
from tests.contract.revocation.conftest import World
from tests.contract.store.samples import AGENT, OTHER_AGENT, spec, spiffe, stream
from tests.fakes.ca import TRUST_DOMAIN

BUNDLE = TrustBundle(TRUST_DOMAIN, (b"root",), 3, crls=(b"list",))
WEB = str(spiffe("/web"))


async def radius(world: World, kind: BlockKind, value: str, **more: Any) -> BlastRadius:
    order = RevocationOrder(kind, value, **more)
    return await world.store.read(lambda uow: survey(uow, order, value, BUNDLE))


def holds(name: str, serial: str, **more: Any) -> StreamRecord:
    return stream(name, resources=(ResourceRecord("default", "v1", "v1", sent_serial=serial),), **more)


def sidecar(name: str, resource: str = "ROOTCA", version: str = "v1", **more: Any) -> StreamRecord:
    return stream(name, resources=(ResourceRecord(resource, version, version),), **more)


async def test_certificates_streams_agents_entries_and_owners(world: World) -> None:
    active = await world.authority()
    entries = [
        await world.change(
            lambda uow, n=n: uow.entries.create(spec("/web", f"unix:uid:{n}", owner=f"team-{n}"), f"entry-{n}")
        )
        for n in (1, 2)
    ]
    await world.change(lambda uow: uow.entries.create(spec("/db", owner="others"), "entry-3"))
    first = await world.certificate("0a" * 20, active, entry_id="entry-1")
    second = await world.certificate("0b" * 20, active, entry_id="entry-2", agent_id=OTHER_AGENT)
    await world.certificate("0c" * 20, active, spiffe_id=spiffe("/db"), entry_id="entry-3")
    await world.certificate("0d" * 20, active, not_after=world.clock.now() - timedelta(seconds=1))
    await world.revoke(first)
    streams = [
        holds("s1", first.serial),
        holds("s2", second.serial, agent_id=OTHER_AGENT),
        holds("s3", "0c" * 20, spiffe_ids=(str(spiffe("/db")),)),
    ]
    await world.store.write(lambda uow: uow.streams.upsert(streams))
    found = await radius(world, BlockKind.SPIFFE_ID, WEB)
    assert (found.certificates, found.fresh) == (2, 1)
    assert [(one.serial, one.revoked) for one in found.listed] == [(first.serial, True), (second.serial, False)]
    assert found.identities == (WEB,)
    assert found.entries == tuple(entry.id for entry in entries)
    assert found.owners == ("team-1", "team-2")
    assert found.agents == (str(AGENT), str(OTHER_AGENT))
    assert [one.stream_id for one in found.streams] == ["s1", "s2"]
    assert found.last_expiry == second.not_after
    by_serial = await radius(world, BlockKind.SERIAL, second.serial)
    assert (by_serial.certificates, by_serial.owners, by_serial.streams_total) == (1, ("team-2",), 1)
    by_agent = await radius(world, BlockKind.AGENT, str(AGENT))
    assert [one.stream_id for one in by_agent.streams] == ["s1", "s3"]
    assert set(by_agent.owners) == {"team-1", "team-2", "others"}  # of its entries, and of what it asked for


async def test_lists_are_cut_and_numbers_are_not(world: World) -> None:
    active = await world.authority()
    for n in range(3):
        await world.certificate(f"{n + 1:040x}", active)
    many = [holds(f"s{n}", f"{1:040x}") for n in range(MAX_LISTED + 5)]
    await world.store.write(lambda uow: uow.streams.upsert(many))
    found = await radius(world, BlockKind.ENTRY, "entry-1")
    assert (found.certificates, len(found.listed)) == (3, 3)
    assert (found.streams_total, len(found.streams)) == (MAX_LISTED + 5, MAX_LISTED)


async def test_whom_a_list_does_not_reach(world: World) -> None:
    active = await world.authority()
    await world.certificate("0a" * 20, active)
    plain = make_resource("ROOTCA", TrustedCa(BUNDLE.pem(), BUNDLE.crl_pem())).version
    validator = make_resource("ROOTCA", SpiffeValidator(((TRUST_DOMAIN.name, BUNDLE.pem()),))).version
    streams = [
        sidecar("s1", version=plain),
        sidecar("s2", "ALL"),
        sidecar("s3", version=validator),
        sidecar("s4", process=ProcessRecord(1, 1, "/opt/mosn/bin/mosn")),
        sidecar("s5", node_id="sidecar~10.0.0.1~MOSN-1~x"),
        sidecar("s6", protocol="workload-api"),
        sidecar("s7", process=ProcessRecord(1, 1, "/usr/bin/envoy"), node_id="envoy-1"),
    ]
    await world.store.write(lambda uow: uow.streams.upsert(streams))
    found = await radius(world, BlockKind.ENTRY, "entry-1")
    assert {one.stream.stream_id: one.why for one in found.unreached} == {
        "s2": OutOfReach.SPIFFE_VALIDATOR,
        "s3": OutOfReach.SPIFFE_VALIDATOR,
        "s4": OutOfReach.MOSN,
        "s5": OutOfReach.MOSN,
        "s6": OutOfReach.WORKLOAD_API,
    }
    notes = " ".join(found.notes)
    assert "2 live streams go on accepting what is revoked: MOSN reads no CRL" in notes
    assert "open now live on" in notes
    assert "JWT-SVIDs" in notes
    whole = await radius(world, BlockKind.AUTHORITY, active.authority.id)
    assert whole.unreached == (), "the bundle reaches everyone"
    await world.change(lambda uow: note_issuer(uow, world.clock.now() + timedelta(days=1)))
    below = await radius(world, BlockKind.ENTRY, "entry-1")
    assert {one.why for one in below.unreached} == {OutOfReach.OTHER_SERVERS}
    assert below.unreached_total == len(streams)


async def test_notes_say_what_numbers_do_not(world: World) -> None:
    old, active = await world.authority(AuthorityState.OLD), await world.authority()
    await world.certificate("0a" * 20, active, profile="server")
    await world.certificate("0b" * 20, active, profile="intermediate")
    held = await radius(world, BlockKind.ENTRY, "entry-1", reason=Reason.CERTIFICATE_HOLD)
    notes = " ".join(held.notes)
    assert "it is a hold" in notes
    assert "a server's own certificate" in notes
    assert "below a revoked intermediate" in notes
    nobody = await radius(world, BlockKind.SPIFFE_ID, str(spiffe("/nobody")))
    assert nobody.notes[0].startswith("nothing is known by this name")
    assert "this is the active authority" in " ".join(
        (await radius(world, BlockKind.AUTHORITY, active.authority.id)).notes
    )
    assert "active" not in " ".join((await radius(world, BlockKind.AUTHORITY, old.authority.id)).notes)
    with pytest.raises(NotFound):
        await radius(world, BlockKind.AUTHORITY, "ab" * 20)

"""What writes about secrets, for the test of what has to be audited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attestation.spiffe_id import SpiffeId
from sds.secrets.grant import Exactly
from sds.secrets.secret import SecretState
from sds.store.secrets.records import Sealed, WrappedDataKey
from sds.store.unit_of_work import UnitOfWork
from tests.contract.store.test_leases import LIVE, PENDING, SEALED, WEB
from tests.contract.store.test_secrets import KEY, spec
from tests.fakes.clock import EPOCH

Work = Callable[[UnitOfWork], Any]
ONE, OTHER = (Exactly(SpiffeId.parse(f"spiffe://example.org/{name}")) for name in ("web", "other"))
NEW_KEY = WrappedDataKey("22222222", b"\x01" * 12, b"wrapped anew")

AUDITED: dict[str, Work] = {
    "secrets.create": lambda unit: unit.secrets.create(spec("new"), "s9", KEY),
    "secrets.update": lambda unit: unit.secrets.update("s1", spec("renamed")),
    "secrets.pin": lambda unit: unit.secrets.pin("s1", 1),
    "secrets.delete": lambda unit: unit.secrets.delete("s1"),
    "secrets.rewrap": lambda unit: unit.secrets.rewrap(lambda _id, _key: NEW_KEY),
    "secrets.put_version": lambda unit: unit.secrets.put_version("s1", Sealed(2, b"n" * 12, b"sealed")),
    "secrets.destroy": lambda unit: unit.secrets.destroy("s1", 1),
    "grants.create": lambda unit: unit.grants.create("s1", OTHER, "g9"),
    "grants.delete": lambda unit: unit.grants.delete("g1"),
    "ticket_masters.add": lambda unit: unit.ticket_masters.add(8, KEY),
    "ticket_masters.destroy_before": lambda unit: unit.ticket_masters.destroy_before(8),
    "ticket_masters.rewrap": lambda unit: unit.ticket_masters.rewrap(lambda _epoch, _key: NEW_KEY),
    "leases.begin": lambda unit: unit.leases.begin(PENDING),
}
UNAUDITED: dict[str, Work | None] = {
    "secrets.note_state": lambda unit: unit.secrets.note_state("s1", SecretState("2")),
    "secrets.give_data_key": lambda unit: unit.secrets.give_data_key("s1", NEW_KEY),
    "secrets.trim_versions": lambda unit: unit.secrets.trim_versions("s1", 1),
    "leases.activate": lambda unit: unit.leases.activate(LIVE, SEALED),
    "leases.renewed": lambda unit: unit.leases.renewed(LIVE, EPOCH, None, "two"),
    "leases.remove": lambda unit: unit.leases.remove(LIVE),
    "leases.use": lambda unit: unit.leases.use(WEB, "one"),
    "leases.unuse": lambda unit: unit.leases.unuse(WEB, "one"),
    "leases.beat": lambda unit: unit.leases.beat("one"),
    "leases.forget_replica": lambda unit: unit.leases.forget_replica("one", EPOCH),
    "leases.end": None,  # only one that is live: test_leases.py
}
READING = {
    "of",
    "page",
    "states",
    "data_key",
    "count_data_keys",
    "kek_ids",
    "of_secret",
    "secrets",
    "credentials",
    "users",
    "replicas",
}
READING |= {"next_version", "version", "newest_version", "newest_versions", "versions"}


def fill(unit: UnitOfWork) -> None:
    unit.secrets.create(spec(), "s1", KEY)
    unit.secrets.put_version("s1", Sealed(1, b"n" * 12, b"sealed"))
    unit.grants.create("s1", ONE, "g1")
    unit.ticket_masters.add(7, KEY)


def everything(unit: UnitOfWork) -> object:
    return (
        unit.secrets.all(),
        unit.secrets.data_key("s1") if unit.secrets.find("db") or unit.secrets.find("renamed") else None,
        unit.secrets.versions("s1"),
        unit.grants.all(),
        unit.ticket_masters.all(),
        unit.leases.all(),
    )

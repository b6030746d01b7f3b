"""Who used leases before a restart: waited for, but not when the grant or the entry is gone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from attestation.spiffe_id import SpiffeId
from sds.clock import SystemClock
from sds.secrets.grant import Exactly
from sds.secrets.leasing.lease import Receiver
from sds.secrets.secret import DatabaseSource, SecretKind, SecretSpec
from sds.server.secrets.leases.users import Users, granted_by_entries
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.contract.store.samples import change
from tests.contract.store.samples import spec as entry_spec

WEB = Receiver("s1", SpiffeId.parse("spiffe://example.org/web"))


@pytest.mark.parametrize("ends", ["nothing", "grant", "entry"])
async def test_after_a_restart_a_grant_or_an_entry_ends_their_use(store: Store, ends: str) -> None:
    def define(uow: UnitOfWork) -> None:
        uow.secrets.create(SecretSpec("db", SecretKind.MAP, DatabaseSource("database", "r")), "s1")
        uow.grants.create("s1", Exactly(WEB.spiffe_id), "g1")
        uow.entries.create(entry_spec("/web", "unix:uid:1"), "e1")
        uow.leases.use(WEB, "one")

    await change(store, define)
    users = Users(store, "one", SystemClock(), timedelta(hours=1).total_seconds(), granted_by_entries)
    await users.load()
    await users.tidy()
    assert WEB in await store.read(lambda uow: uow.leases.users())
    if ends == "grant":
        await change(store, lambda uow: uow.grants.delete("g1"))
    elif ends == "entry":
        await change(store, lambda uow: uow.entries.delete("e1"))
    await users.tidy()
    assert (WEB in await store.read(lambda uow: uow.leases.users())) is (ends == "nothing")

"""What would be done is what is done then: over both databases, and as tests fake it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sds.admin.services import AdminServices
from sds.secrets.secret import EmbeddedSource, SecretKind, SecretSpec
from sds.store.errors import AlreadyExists, Conflict, NotFound
from tests.contract.admin.conftest import Faked, Subject
from tests.contract.admin.test_revocations import CALL
from tests.contract.admin.test_services import audited
from tests.contract.store.samples import spec


async def test_an_update_is_planned_as_it_is_done(services: AdminServices) -> None:
    entries = services.entries
    standing = (await entries.create(CALL, spec("/web"))).entry
    await entries.create(CALL, spec("/other"))
    wanted = replace(standing.spec, hint="new", owner="team")
    planned = await entries.plan_update(CALL, standing.id, wanted, 1)
    assert (planned.entry.spec, planned.entry.revision) == (wanted, 1)
    assert planned.changes == {"hint": ("", "new"), "owner": ("", "team")}
    assert await entries.get(standing.id) == standing
    assert [row.event.action for row in await audited(services, "entry.")] == ["entry.create"] * 2
    assert (await entries.plan_update(CALL, standing.id, standing.spec, None)).changes == {}
    with pytest.raises(Conflict):
        await entries.plan_update(CALL, standing.id, wanted, 2)
    with pytest.raises(AlreadyExists):
        await entries.plan_update(CALL, standing.id, spec("/other"), None)
    with pytest.raises(NotFound):
        await entries.plan_update(CALL, "e99999999", wanted, None)
    assert (await entries.update(CALL, standing.id, wanted, 1)).spec == planned.entry.spec


async def test_a_rotation_wraps_as_many_keys_as_it_said(subject: Subject) -> None:
    services = subject.services
    if not isinstance(subject, Faked):
        await services.secrets.create(CALL, SecretSpec("token", SecretKind.GENERIC, EmbeddedSource()))
        assert (await services.kek.plan()).rewrapped == 1
    planned = await services.kek.plan()
    assert (planned.new_id, await audited(services, "kek.")) == ("", [])
    assert await services.kek.plan() == planned
    done = await services.kek.rotate(CALL)
    assert (done.old_id, done.rewrapped, done.shared) == (planned.old_id, planned.rewrapped, planned.shared)
    assert (await services.kek.plan()).old_id == done.new_id

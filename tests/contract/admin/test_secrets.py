"""Secrets and grants as administrators see them: the server's own over both databases, and the fake."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.spiffe_id import SpiffeId
from ca.masked import Masked
from sds.admin.errors import InvalidInput
from sds.admin.services import AdminServices
from sds.admin.services.grants import CheckOrder, GrantQuery
from sds.admin.services.secrets import PutOrder, SecretQuery
from sds.audit.canonical import canonical_bytes
from sds.secrets.grant import Below, Exactly, Labelled
from sds.secrets.secret import EmbeddedSource, KvSource, RotationPolicy, SecretKind, SecretSpec
from sds.store.errors import Conflict, InvalidCursor, NameTaken, NotFound
from tests.contract.admin.test_services import CALL, audited
from tests.contract.store import samples
from tests.fakes.admin_entries import TD

WEB = SpiffeId(TD, "/web")
TOKEN = SecretSpec("orders/token", SecretKind.GENERIC, EmbeddedSource(), "team", MappingProxyType({"env": "prod"}))
VAULT = SecretSpec("from-vault", SecretKind.GENERIC, KvSource("secret", "apps/x", MappingProxyType({"": "token"})))
CANARY = b"CANARY-of-a-value"


def value(raw: bytes = CANARY, if_version: int | None = None) -> PutOrder:
    return PutOrder({"": Masked(raw)}, if_version)


async def entry(services: AdminServices, path: str = "/web", **changes: Any) -> RegistrationEntry:
    spec: EntrySpec = replace(samples.spec(path), **changes)
    return (await services.entries.create(CALL, spec)).entry


async def actions(services: AdminServices, prefix: str = "secret.") -> list[str]:
    return [row.event.action for row in await audited(services, prefix)]


async def test_create_and_again(services: AdminServices) -> None:
    made = await services.secrets.create(CALL, TOKEN)
    assert made.created
    assert (made.info.secret.spec, made.info.secret.revision, made.info.grants) == (TOKEN, 1, 0)
    again = await services.secrets.create(CALL, TOKEN)
    assert (again.created, again.info) == (False, made.info)
    with pytest.raises(NameTaken):
        await services.secrets.create(CALL, replace(TOKEN, owner="others"))
    assert (await services.secrets.get("orders/token")).info == made.info
    assert await actions(services) == ["secret.create"]


async def test_what_the_rules_refuse(services: AdminServices) -> None:
    for spec in (
        replace(TOKEN, name="default"),
        replace(TOKEN, name="spiffe://example.org/web"),
        replace(TOKEN, rotation=RotationPolicy(generate=1)),
        replace(VAULT, source=KvSource("sys", "x")),
    ):
        assert services.secrets.problems(spec)
        with pytest.raises(InvalidInput):
            await services.secrets.create(CALL, spec)
    await services.secrets.create(CALL, TOKEN)
    with pytest.raises(InvalidInput):
        await services.secrets.update(CALL, "orders/token", replace(TOKEN, name="tickets"), None)


async def test_find(services: AdminServices) -> None:
    for spec in (TOKEN, VAULT):
        await services.secrets.create(CALL, spec)
    wanted: list[tuple[SecretQuery, list[str]]] = [
        (SecretQuery(), ["from-vault", "orders/token"]),
        (SecretQuery(prefix="orders/"), ["orders/token"]),
        (SecretQuery(backend="kv"), ["from-vault"]),
        (SecretQuery(owner="team"), ["orders/token"]),
        (SecretQuery(labels={"env": "prod"}), ["orders/token"]),
        (SecretQuery(kind=SecretKind.MAP), []),
        (SecretQuery(problem=True), []),
        (SecretQuery(problem=False), ["from-vault", "orders/token"]),
    ]
    for query, names in wanted:
        assert [each.secret.name for each in (await services.secrets.find(query)).items] == names, query
    for path in ("/web", "/db"):
        await services.grants.create(CALL, "orders/token", Exactly(SpiffeId(TD, path)))
    assert [each.grants for each in (await services.secrets.find(SecretQuery())).items] == [0, 2]
    first = await services.secrets.find(SecretQuery(limit=1))
    rest = await services.secrets.find(SecretQuery(limit=1, cursor=first.next_cursor))
    assert [each.secret.name for each in (*first.items, *rest.items)] == ["from-vault", "orders/token"]
    assert rest.next_cursor is None
    with pytest.raises(InvalidCursor):
        await services.secrets.find(SecretQuery(cursor="CANARY"))


async def test_update(services: AdminServices) -> None:
    made = await services.secrets.create(CALL, TOKEN)
    await services.grants.create(CALL, "orders/token", Exactly(WEB))
    with pytest.raises(Conflict):
        await services.secrets.update(CALL, "orders/token", replace(TOKEN, owner="x"), 7)
    same = await services.secrets.update(CALL, "orders/token", TOKEN, 1)
    assert same.info.secret.revision == 1
    renamed = await services.secrets.update(CALL, "orders/token", replace(TOKEN, name="renamed", owner="x"), 1)
    assert (renamed.info.secret.id, renamed.info.secret.revision) == (made.info.secret.id, 2)
    assert len(renamed.granted) == 1, "its grants stay"
    with pytest.raises(NotFound):
        await services.secrets.get("orders/token")
    await services.secrets.create(CALL, VAULT)
    with pytest.raises(NameTaken):
        await services.secrets.update(CALL, "renamed", replace(TOKEN, name="from-vault"), None)
    assert await actions(services) == ["secret.create", "secret.update", "secret.create"]


async def test_put_versions_and_rollback(services: AdminServices) -> None:
    await services.secrets.create(CALL, TOKEN)
    assert await services.secrets.versions("orders/token") == ()
    first = await services.secrets.put(CALL, "orders/token", value(if_version=0))
    assert (first.version, first.created_by, first.state) == ("1", CALL.caller.id, "live")
    with pytest.raises(Conflict):
        await services.secrets.put(CALL, "orders/token", value(if_version=0))
    await services.secrets.put(CALL, "orders/token", value(if_version=1))
    assert [each.version for each in await services.secrets.versions("orders/token")] == ["2", "1"]
    pinned = await services.secrets.rollback(CALL, "orders/token", 1)
    assert (pinned.secret.pinned, pinned.secret.revision) == (1, 2)
    assert (await services.secrets.rollback(CALL, "orders/token", 1)).secret.revision == 2, "it is so already"
    with pytest.raises(InvalidInput, match="version"):
        await services.secrets.rollback(CALL, "orders/token", 9)
    assert (await services.secrets.rollback(CALL, "orders/token", None)).secret.pinned is None
    assert await actions(services) == [
        "secret.create", "secret.put", "secret.put", "secret.rollback", "secret.rollback",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"": b""},
        {"": b"nul\0"},
        {"": b"x" * 70_000},
        {"a": b"CANARY", "b": b"CANARY"},
        {f"f{number}": b"CANARY" for number in range(100)},
    ],
)
async def test_a_value_that_is_not_fit_is_not_taken(services: AdminServices, fields: dict[str, bytes]) -> None:
    await services.secrets.create(CALL, TOKEN)
    with pytest.raises(InvalidInput) as refused:
        await services.secrets.put(
            CALL, "orders/token", PutOrder({name: Masked(each) for name, each in fields.items()})
        )
    assert [each.field for each in refused.value.problems] == ["fields"]
    assert "CANARY" not in str(refused.value)
    assert await services.secrets.versions("orders/token") == ()
    assert await actions(services) == ["secret.create"]


async def test_what_lies_in_vault_is_written_there(services: AdminServices) -> None:
    await services.secrets.create(CALL, VAULT)
    with pytest.raises(InvalidInput, match="Vault") as refused:
        await services.secrets.put(CALL, "from-vault", value())
    assert [each.field for each in refused.value.problems] == ["source"]


async def test_refresh_is_audited_as_the_callers_wish(services: AdminServices) -> None:
    await services.secrets.create(CALL, TOKEN)
    info = await services.secrets.refresh(CALL, "orders/token")
    assert info.state.checked_at is not None
    (event,) = [row.event for row in await audited(services, "secret.refresh")]
    assert event.actor.id == CALL.caller.id


async def test_delete_says_who_loses_it(services: AdminServices) -> None:
    await services.secrets.create(CALL, TOKEN)
    web = await entry(services)
    await entry(services, "/website")
    await services.grants.create(CALL, "orders/token", Below(WEB))
    await services.secrets.put(CALL, "orders/token", value())
    planned = await services.secrets.delete(CALL, "orders/token", None, dry_run=True)
    assert (planned.dry_run, planned.entries, planned.entries_total, planned.versions) == (True, (web,), 1, 1)
    assert "secret.delete" not in await actions(services)
    with pytest.raises(Conflict):
        await services.secrets.delete(CALL, "orders/token", 9, dry_run=False)
    assert await services.secrets.delete(CALL, "orders/token", 1, dry_run=False) == replace(planned, dry_run=False)
    assert (await services.grants.find(GrantQuery())).items == ()
    with pytest.raises(NotFound):
        await services.secrets.get("orders/token")
    # The name is free, and what comes under it has nothing of what stood before.
    again = await services.secrets.create(CALL, TOKEN)
    assert (again.created, again.info.grants) == (True, 0)
    assert await services.secrets.versions("orders/token") == ()


async def test_what_is_not_there(services: AdminServices) -> None:
    for work in (
        services.secrets.get("none"),
        services.secrets.update(CALL, "none", TOKEN, None),
        services.secrets.delete(CALL, "none", None, dry_run=True),
        services.secrets.delete(CALL, "none", None, dry_run=False),
        services.secrets.put(CALL, "none", value()),
        services.secrets.refresh(CALL, "none"),
        services.secrets.versions("none"),
        services.secrets.rollback(CALL, "none", 1),
        services.grants.create(CALL, "none", Exactly(WEB)),
        services.grants.find(GrantQuery(secret="none")),
        services.grants.delete(CALL, "none"),
        services.grants.check(CheckOrder(secret="none")),
        services.grants.check(CheckOrder(entry_id="none")),
    ):
        with pytest.raises(NotFound):
            await work


async def test_grants(services: AdminServices) -> None:
    await services.secrets.create(CALL, TOKEN)
    await services.secrets.create(CALL, VAULT)
    await entry(services, labels=MappingProxyType({"env": "prod", "app": "web"}))
    subjects = [Exactly(WEB), Below(WEB), Labelled(MappingProxyType({"env": "prod"})), Exactly(SpiffeId(TD, "/db"))]
    made = [await services.grants.create(CALL, "orders/token", subject) for subject in subjects]
    assert [(each.created, each.entries) for each in made] == [(True, 1), (True, 1), (True, 1), (True, 0)]
    again = await services.grants.create(CALL, "orders/token", subjects[1])
    assert (again.created, again.info) == (False, made[1].info)
    infos = [each.info for each in made]
    assert [each.grant.subject for each in infos] == subjects
    assert list((await services.grants.find(GrantQuery())).items) == infos
    assert list((await services.grants.find(GrantQuery(spiffe_id=WEB))).items) == infos[:3]
    assert (await services.grants.find(GrantQuery(secret="from-vault"))).items == ()
    first = await services.grants.find(GrantQuery(secret="orders/token", spiffe_id=WEB, limit=2))
    rest = await services.grants.find(
        GrantQuery(secret="orders/token", spiffe_id=WEB, limit=2, cursor=first.next_cursor)
    )
    assert [*first.items, *rest.items] == infos[:3]
    assert await services.grants.delete(CALL, infos[0].grant.id) == infos[0]
    assert list((await services.grants.find(GrantQuery())).items) == infos[1:]
    assert await actions(services, "grant.") == ["grant.create"] * 4 + ["grant.delete"]


@pytest.mark.parametrize(
    "whom",
    [
        Exactly(SpiffeId.parse("spiffe://other.example/web")),
        Below(SpiffeId(TD, "/sds/agent")),
        Labelled(MappingProxyType({})),
    ],
)
async def test_whom_nobody_grants(services: AdminServices, whom: Exactly | Below | Labelled) -> None:
    await services.secrets.create(CALL, TOKEN)
    with pytest.raises(InvalidInput):
        await services.grants.create(CALL, "orders/token", whom)
    assert (await services.grants.find(GrantQuery())).items == ()


async def test_check(services: AdminServices) -> None:
    for spec in (TOKEN, VAULT):
        await services.secrets.create(CALL, spec)
    web = await entry(services, labels=MappingProxyType({"env": "prod"}))
    site = await entry(services, "/website")
    below = (await services.grants.create(CALL, "orders/token", Below(WEB))).info.grant
    label = (await services.grants.create(CALL, "from-vault", Labelled(MappingProxyType({"env": "prod"})))).info.grant

    async def check(**order: Any) -> list[tuple[str, str | None, str]]:
        found = await services.grants.check(CheckOrder(**order))
        assert found.total == len(found.allowed)
        return [(each.secret, each.entry_id, each.grant.id) for each in found.allowed]

    both = [("from-vault", web.id, label.id), ("orders/token", web.id, below.id)]
    assert await check(spiffe_id=WEB) == both
    assert await check(entry_id=web.id) == both
    assert await check(entry_id=site.id) == []
    assert await check(secret="orders/token") == both[1:]
    assert await check(secret="from-vault", entry_id=web.id) == both[:1]
    assert await check(secret="orders/token", spiffe_id=SpiffeId(TD, "/website")) == []
    assert await check(spiffe_id=SpiffeId(TD, "/web/admin")) == [("orders/token", None, below.id)]


async def test_no_event_has_a_value(services: AdminServices) -> None:
    await services.secrets.create(CALL, TOKEN)
    await services.secrets.put(CALL, "orders/token", value())
    await services.secrets.rollback(CALL, "orders/token", 1)
    await services.secrets.delete(CALL, "orders/token", None, dry_run=False)
    rows = await audited(services, "secret.")
    assert len(rows) == 4
    told = b"".join(canonical_bytes(row.event) for row in rows)
    assert CANARY not in told
    assert repr(value()).find("CANARY") == -1

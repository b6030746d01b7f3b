"""What a caller may do now: asked of the store on every request, so that taking a right away acts at once."""

from __future__ import annotations

from sds.admin.access.roles import ALL_RIGHTS, Binding, Right, Role, Scope
from sds.admin.services import CallerKind
from sds.server.transactions import Transactions
from sds.store.access.records import BindingRecord, RightRecord
from sds.store.unit_of_work import UnitOfWork

LOCAL = "uid:"
TOKEN = "token:"  # noqa: S105 - the prefix of an ID, no token


class Rights:
    """`local_admins`: users of the local socket who may do anything."""

    def __init__(self, store: Transactions, local_admins: frozenset[int]) -> None:
        self._store = store
        self._local = frozenset(f"{LOCAL}{uid}" for uid in local_admins)

    async def bound(self, subjects: tuple[str, ...]) -> tuple[Right, ...]:
        """By bindings alone."""
        return await self._store.read(lambda uow: bound(uow, subjects))

    async def of(self, kind: CallerKind, caller_id: str, subjects: tuple[str, ...]) -> tuple[Right, ...]:
        """Of a caller who proved earlier who they are. () where nothing is left."""
        return await self._store.read(lambda uow: self.standing(uow, kind, caller_id, subjects))

    def standing(
        self, uow: UnitOfWork, kind: CallerKind, caller_id: str, subjects: tuple[str, ...]
    ) -> tuple[Right, ...]:
        """The same within a transaction."""
        if kind is CallerKind.TOKEN:
            token = uow.api_tokens.find(caller_id.removeprefix(TOKEN))
            return () if token is None or not token.live(uow.now) else rights_of([token.right])
        if kind is CallerKind.LOCAL:
            return ALL_RIGHTS if caller_id in self._local else bound(uow, (caller_id,))
        if kind in {CallerKind.OIDC, CallerKind.SVID}:
            return bound(uow, subjects)
        return ()


def bound(uow: UnitOfWork, subjects: tuple[str, ...]) -> tuple[Right, ...]:
    """The rights that standing bindings give to these subjects."""
    return rights_of([each.right for each in uow.role_bindings.of(subjects)])


def rights_of(records: list[RightRecord]) -> tuple[Right, ...]:
    """A role that this program does not know gives nothing."""
    known = frozenset(Role)
    return tuple(right_of(each) for each in records if each.role in known)


def right_of(record: RightRecord) -> Right:
    return Right(Role(record.role), Scope(record.below, record.labels))


def record_of(right: Right) -> RightRecord:
    return RightRecord(right.role.value, right.scope.below, right.scope.labels)


def binding_of(record: BindingRecord) -> Binding:
    return Binding(
        record.id, record.subject, right_of(record.right), record.created_at, record.created_by, record.expires_at
    )

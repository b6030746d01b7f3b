"""X.509-SVIDs of administrators: verified on every request, because a connection outlives what it was opened with."""

from __future__ import annotations

from collections.abc import Callable

from ca.bundle import TrustBundle
from ca.errors import InvalidSvid
from ca.svid import X509Svid, parse_svid
from ca.verify import verify_svid
from sds.admin.access.roles import Right
from sds.admin.login.ports import Known
from sds.admin.services import Caller, CallerKind
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.access.rights import bound
from sds.server.transactions import Transactions
from sds.store.errors import NotFound
from sds.store.revocation.records import BlockKind
from sds.store.unit_of_work import UnitOfWork


class SvidCheck:
    """Whose certificate a client has shown, if it may be believed now."""

    def __init__(self, bundle: Callable[[], TrustBundle], store: Transactions, clock: Clock) -> None:
        self._bundle = bundle
        self._store = store
        self._clock = clock
        self._log = get_logger(__name__)

    async def known(self, unverified_chain: tuple[bytes, ...]) -> Known | None:
        """The caller, or None.

        1. The leaf is an X.509-SVID with exactly one SPIFFE ID (X509-SVID 2, 5.2).
        2. It leads to an authority of our own bundle as it is now, and is valid now (X509-SVID 5.1).
        3. It was not revoked; nor is its identity, its key, or an agent of its name blocked or banned.
        4. Rights come from bindings of its SPIFFE ID alone: no name in it gives any.
        """
        try:
            svid = parse_svid(unverified_chain)  # 1
            verify_svid(svid, self._bundle(), self._clock.now())  # 2
        except InvalidSvid as error:
            self._log.info("a client certificate is refused", reason=str(error))
            return None
        rights = await self._store.read(lambda uow: _rights(uow, svid))
        if rights is None:
            self._log.info("a client certificate is refused", reason="revoked, blocked or banned")
            return None
        subject = str(svid.spiffe_id)
        return Known(Caller(CallerKind.SVID, subject, subject), rights, (subject,))


def _rights(uow: UnitOfWork, svid: X509Svid) -> tuple[Right, ...] | None:
    """None: taken back (3)."""
    subject = str(svid.spiffe_id)
    names = [(BlockKind.SPIFFE_ID, subject), (BlockKind.AGENT, subject), (BlockKind.KEY, svid.key_hash)]
    if uow.revocations.find([svid.serial]) or uow.blocks.among(names):
        return None
    try:
        if uow.agents.get(svid.spiffe_id).banned:
            return None
    except NotFound:
        pass
    return bound(uow, (subject,))  # 4

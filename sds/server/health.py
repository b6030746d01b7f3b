"""What ``/live`` and ``/ready`` ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from ca.errors import AuthorityUnavailable, KeyManagerUnavailable
from sds.clock import Clock
from sds.http.ops import Check
from sds.server.issuance import SigningAuthorities
from sds.server.transactions import Transactions
from sds.store.errors import StoreError


class Health:
    """Checks of one server. Until `serving` is set, and again while it drains, it is not ready."""

    def __init__(
        self,
        store: Transactions,
        authorities: SigningAuthorities,
        own_not_after: Callable[[], datetime | None],
        keys: Check,
        clock: Clock,
        more: Mapping[str, Check] | None = None,
    ) -> None:
        """`more` joins what stops new signatures or authorities alone."""
        self._store = store
        self._authorities = authorities
        self._own_not_after = own_not_after
        self._keys = keys
        self._more = more or {}
        self._clock = clock
        self.serving = False
        self.broken: str | None = None
        """Set when a background task has ended that must not: only a restart helps."""

    @property
    def live(self) -> Mapping[str, Check]:
        return {"tasks": self._tasks}

    @property
    def ready(self) -> Mapping[str, Check]:
        return {
            "serving": self._is_serving,
            "store": self._store_answers,
            "authority": self._authority_signs,
            "certificate": self._own_certificate_lasts,
        }

    @property
    def degraded(self) -> Mapping[str, Check]:
        """What stops new signatures, or new authorities, alone."""
        return {"key_manager": self._keys, **self._more}

    async def _tasks(self) -> str | None:
        return self.broken

    async def _is_serving(self) -> str | None:
        return None if self.serving else "starting or draining"

    async def _store_answers(self) -> str | None:
        try:
            await self._store.read(lambda uow: uow.settings.epoch)
        except StoreError as error:
            return str(error)
        return None

    async def _authority_signs(self) -> str | None:
        try:
            self._authorities.signing()
        except KeyManagerUnavailable:
            return None  # `degraded` tells
        except AuthorityUnavailable as error:
            return str(error)
        return None

    async def _own_certificate_lasts(self) -> str | None:
        until = self._own_not_after()
        return None if until is not None and self._clock.now() < until else "the server's own certificate has expired"

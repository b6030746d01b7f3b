"""Notices that authority keys cannot be used, and that they can again: one line in the log each time, and a metric.

What agents and sidecars hold goes on being served meanwhile; only what needs a new signature waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

from ca.errors import CaError
from ca.key_manager import KeyManagers
from sds.logs import get_logger
from sds.metrics import ServerMetrics


class KeyWatch:
    """Ticked by the scheduler; remembers only what it has said."""

    def __init__(
        self,
        keys: KeyManagers,
        refs: Callable[[], Collection[str]],
        file_check: Callable[[], Awaitable[None]],
        metrics: ServerMetrics,
    ) -> None:
        """`refs` are the references of all authorities; `file_check` tries the key file and raises CaError."""
        self._keys = keys
        self._refs = refs
        self._file_check = file_check
        self._metrics = metrics
        self._problems: dict[str, str] = {}
        self._log = get_logger(__name__)

    @property
    def problems(self) -> Mapping[str, str]:
        """What was wrong at the last look, by key manager."""
        return dict(self._problems)

    async def readiness(self) -> str | None:
        """As an sds.http.ops.Check: all problems in one line."""
        return "; ".join(f"{name}: {problem}" for name, problem in sorted(self._problems.items())) or None

    async def look(self) -> None:
        """Ask every key manager for every key. Raises StoreError if the database does not answer."""
        found: dict[str, CaError | None] = {**await self._keys.check_each(self._refs())}
        if found["wrapped"] is None:
            found["wrapped"] = await self._file_problem()
        for name in self._problems.keys() - found.keys():  # nobody has a key with it any more
            found[name] = None
        for name, error in found.items():
            self._note(name, error)
            self._metrics.key_manager_up(name, error is None)

    async def _file_problem(self) -> CaError | None:
        """Opened keys go on signing without their file; the next start would not get over its loss."""
        try:
            await self._file_check()
        except CaError as error:
            return error
        return None

    def _note(self, name: str, error: CaError | None) -> None:
        before = self._problems.get(name)
        if error is None:
            if self._problems.pop(name, None) is not None:
                self._log.info("the key manager can be used again", key_manager=name)
            return
        self._problems[name] = str(error)
        if before is None:
            self._log.error(
                "authority keys cannot be used; what is issued goes on being served, and this is tried again",
                key_manager=name,
                reason=str(error),
            )

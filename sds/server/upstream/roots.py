"""Takes the upstream's roots into the trust bundle, before anything that is below them can be met."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from ca.authority import Authority, AuthorityKind
from ca.rotation import RotationPolicy
from ca.upstreams.following import Published, follow
from sds.audit.event import Json, Target
from sds.clock import Clock
from sds.logs import get_logger
from sds.rotation.look import take_look
from sds.rotation.ports import Rules
from sds.server.events import Events, system_actor
from sds.server.transactions import Transactions
from sds.store.unit_of_work import UnitOfWork

_NAMED = 64


class Roots:
    """Level-triggered: told the same again it does nothing, and replicas that are told at once agree."""

    def __init__(self, store: Transactions, events: Events, rules: Rules, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._policy: RotationPolicy = rules.policy
        self._settle: timedelta = rules.settle
        self._clock = clock
        self._log = get_logger(__name__)

    async def follow(self, published: Published) -> int:
        """The first sequence of our bundle that has these roots; 0 if no authority of ours is below them.

        Raises StoreError.

        An authority whose upstream was tainted or taken back shares its fate; rotation does the rest.
        """
        now = self._clock.now()
        standing = await self._store.read(_standing)
        if any(follow(one, published, now) != one for one in standing):
            standing = await self._store.write(lambda uow: self._apply(uow, published))
        ours = (one for one in standing if one.upstream == published.upstream and one.roots and not one.revoked)
        return max((one.published_sequence for one in ours), default=0)

    async def everywhere(self, sequence: int) -> bool:
        """Whether all of our fleet verifies by bundle `sequence` or a newer one. Raises StoreError."""
        if not sequence:
            return True
        policy, settle = self._policy, self._settle
        look = await self._store.read(lambda uow: take_look(uow, policy, settle, whole_fleet=True))
        return all(holder.has(sequence, look.now) for holder in look.fleet.holders)

    def _apply(self, uow: UnitOfWork, published: Published) -> tuple[Authority, ...]:
        for one in uow.authorities.all(AuthorityKind.X509):
            after = follow(one, published, uow.now)
            if after != one:
                uow.authorities.compare_and_swap(one, after)
                self._record(uow, one, after)
        return _standing(uow)

    def _record(self, uow: UnitOfWork, before: Authority, after: Authority) -> None:
        if after.revoked:
            action, reason = "authority.revoke", "the upstream has taken back the root that it is below"
        elif after.tainted and not before.tainted:
            action, reason = "authority.taint", "the upstream has tainted an authority above it"
        else:
            action, reason = "authority.roots", "the upstream publishes other roots"
        details: dict[str, Json] = {
            "upstream": after.upstream,
            "roots": len(after.roots),
            "added": _fingerprints(set(after.roots) - set(before.roots)),
            "removed": _fingerprints(set(before.roots) - set(after.roots)),
        }
        target = Target("authority", after.id)
        uow.audit.append(self._events.make(uow.now, action, system_actor(), target, reason=reason, details=details))
        tell = self._log.info if action == "authority.roots" else self._log.error
        tell(reason, authority_id=after.id, state=str(after.state))


def _standing(uow: UnitOfWork) -> tuple[Authority, ...]:
    return uow.authorities.all(AuthorityKind.X509)


def _fingerprints(roots: set[bytes]) -> tuple[str, ...]:
    return tuple(sorted(hashlib.sha256(der).hexdigest() for der in roots))[:_NAMED]

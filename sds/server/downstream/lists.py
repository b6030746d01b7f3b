"""Why sidecars get no revocation lists while servers issue below this one.

A verifier that has one list refuses what every issuer without one has issued, and the lists of servers below are
theirs: here nobody has them. So there are lists of all that issue in the trust domain, or none. What was revoked is not
renewed all the same, and OCSP answers for what was issued here.
"""

from __future__ import annotations

from datetime import datetime

from sds.store.unit_of_work import UnitOfWork

_UNTIL = "intermediates_until"


def issuers_below(uow: UnitOfWork) -> bool:
    """Whether a server below may be issuing: since its first signing certificate, until `forget_expired`."""
    return bool(uow.settings.get(_UNTIL))


def note_issuer(uow: UnitOfWork, not_after: datetime) -> None:
    """A server below may issue until then. Call before other rows are locked: it may take the feed's lock."""
    known = uow.settings.get(_UNTIL)
    if not known:
        uow.authorities.bundle_changed()
    if not known or datetime.fromisoformat(known) < not_after:
        uow.settings.put(_UNTIL, not_after.isoformat())


def forget_expired(uow: UnitOfWork) -> bool:
    """Whether the last signing certificate of a server below has expired since the last look."""
    known = uow.settings.get(_UNTIL)
    if not known or uow.now <= datetime.fromisoformat(known):
        return False
    uow.authorities.bundle_changed()
    uow.settings.put(_UNTIL, "")
    return True

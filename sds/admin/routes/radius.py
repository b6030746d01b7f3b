"""What goes with something that is about to be taken away, for dry runs."""

from __future__ import annotations

from sds.admin.services import AdminCall, RevocationAdmin, RevocationOrder
from sds.admin.services.revocations import BlastRadius
from sds.store.revocation.records import BlockKind


async def blast_radius(revocations: RevocationAdmin, call: AdminCall, kind: BlockKind, value: str) -> BlastRadius:
    """The certificates that are out there, and who holds them now. Nothing is revoked."""
    return (await revocations.revoke(call, RevocationOrder(kind, value, dry_run=True))).radius

"""Dynamic credentials, which Vault's database engine makes for each identity."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

from sds.config.types import Count, Duration, Section, key

_ROLE = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)


def _role(value: object) -> str:
    if not isinstance(value, str) or not _ROLE.fullmatch(value) or value in {".", ".."}:
        raise ValueError("is not a name of letters, digits, '-', '_' and '.', e.g. sds-leases")
    return value


class LeasesSection(Section):
    """Leases of dynamic credentials: [secrets-dynamic.md](secrets-dynamic.md)."""

    token_role: Annotated[str, BeforeValidator(_role)] = key(
        "Role of Vault's token store that the tokens come from on which credentials hang, one token each. It must make "
        "orphans.",
        default="sds-leases",
    )
    overlap: Duration = key(
        "How long credentials stay good after others have taken their place. Shorter where Vault ends them before.",
        default=timedelta(minutes=5),
        le=timedelta(days=1),
    )
    restart_linger: Duration = key(
        "How long after a start of the server leases of before are kept for users that have not come back.",
        default=timedelta(minutes=2),
        le=timedelta(days=1),
    )
    replica_silence: Duration = key(
        "After which a replica that is not heard of counts as gone, and what only it has used is revoked.",
        default=timedelta(minutes=2),
        ge=timedelta(minutes=1),
        le=timedelta(days=1),
    )
    max_leases: Count = key("Leases at once, those that are being revoked among them.", default=10_000, ge=1)

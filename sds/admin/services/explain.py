"""Who would get what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from attestation.entry import RegistrationEntry
from attestation.near import NearEntry
from attestation.selector import Selectors
from attestation.spiffe_id import SpiffeId
from sds.admin.services.common import AdminCall

MAX_MATCHING = 1000
MAX_NEAR = 20


@dataclass(frozen=True, slots=True)
class Explanation:
    """Entries that match the selectors, those that nearly do, and the secrets that each matching one would get.

    `matching` has the first MAX_MATCHING of `matching_total`, `near` the MAX_NEAR that lack least. `secrets`: names by
    the ID of a matching entry.
    """

    matching: tuple[RegistrationEntry, ...]
    matching_total: int
    near: tuple[NearEntry, ...]
    secrets: Mapping[str, tuple[str, ...]]


class ExplainAdmin(Protocol):
    async def explain(self, call: AdminCall, parent_id: SpiffeId | None, selectors: Selectors) -> Explanation:
        """By the entries that stand and have not expired. `parent_id` None: below any parent."""
        ...

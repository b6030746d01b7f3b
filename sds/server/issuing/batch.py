"""What is prepared and not signed yet, wherever that happens. Imported by workers, so it needs nearly nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from ca.errors import CaError

IntentT_co = TypeVar("IntentT_co", covariant=True)
SignedT_co = TypeVar("SignedT_co", covariant=True)


class Batch(Protocol[IntentT_co, SignedT_co]):
    """Orders that are prepared; those whose intents have become durable are signed, once."""

    @property
    def intents(self) -> Sequence[IntentT_co | CaError]:
        """One for each order, in order."""
        ...

    async def issue(self, chosen: Sequence[int]) -> Sequence[SignedT_co | CaError]:
        """Sign these, by their places among the intents, and forget the others; one answer each, in order.

        Raises AuthorityUnavailable, and AlreadyIssued when it is called again.
        """
        ...

"""The key-encryption key."""

from __future__ import annotations

from sds.client.nouns import Noun, operation
from sds.client.results import Result


class Rotation(Result):
    """`rewrapped` keys lie under `new_id` now. `shared`: it rests in the database, encrypted by Vault.

    `dry_run`: nothing was done; `new_id` is empty, and so many keys would be wrapped anew.
    """

    old_id: str
    new_id: str
    rewrapped: int
    shared: bool = False
    dry_run: bool = False


class Kek(Noun):
    @operation("kek.rotate")
    def rotate(self, *, dry_run: bool = False) -> Rotation:
        """A dry run says how many keys would be wrapped anew."""
        return self._post(Rotation, "/v1/kek:rotate", None, {"dry_run": dry_run or None}, keyed=not dry_run)

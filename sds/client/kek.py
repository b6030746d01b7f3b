"""The key-encryption key."""

from __future__ import annotations

from sds.client.nouns import Noun, operation
from sds.client.results import Result


class Rotation(Result):
    """`rewrapped` keys lie under `new_id` now. `shared`: it rests in the database, encrypted by Vault."""

    old_id: str
    new_id: str
    rewrapped: int
    shared: bool = False


class Kek(Noun):
    @operation("kek.rotate")
    def rotate(self) -> Rotation:
        return self._post(Rotation, "/v1/kek:rotate")

"""What wraps keys and secrets at rest."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from sds.config.common import cross_check
from sds.config.problems import Problem
from sds.config.types import FilePath, Section, key
from sds.config.vault_uses import VAULT_TRANSIT, TransitKekSection

KekPlugin = Literal["file", "vault_transit"]


class KekSection(Section):
    """The key-encryption key that wraps the authorities' private keys and the secrets' data keys at rest."""

    plugin: KekPlugin = key(
        "Where it is. `file`: in a file on each host. `vault_transit`: in the database, encrypted by a key in Vault. A "
        "change of this moves it at the next start.",
        default="file",
    )
    file: FilePath = key(
        "Key file, made with mode 0600 at first start. Keep a copy off the host.", shown="DATA_DIR/kek"
    )
    vault_transit: TransitKekSection = TransitKekSection()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.plugin == VAULT_TRANSIT and not self.vault_transit.mount:
            cross_check([Problem("vault_transit.mount", 'is needed for kek.plugin = "vault_transit"')])
        return self

"""Who keeps the authorities' private keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, model_validator

from sds.config.common import cross_check
from sds.config.problems import Problem
from sds.config.types import Duration, FilePath, Section, key
from sds.config.vault_uses import VAULT_TRANSIT, TransitKeysSection

KeyManagerName = Literal["wrapped", "pkcs11", "vault_transit"]

TOKEN_KEY_TYPES = frozenset(("ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096"))
"""What is made in PKCS #11 tokens (ca.key_managers.objects)."""
_SECOND = timedelta(seconds=1)
_LONGEST_LABEL = 32  # CK_TOKEN_INFO (PKCS #11 2.40 section 3.2): 32 bytes, padded with blanks


def _token_text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value.encode()) <= _LONGEST_LABEL:
        raise ValueError("is not a text of 1 to 32 bytes")
    return value


TokenText = Annotated[str, BeforeValidator(_token_text)]


class Pkcs11Section(Section):
    """A PKCS #11 token. It may be configured beside another plugin, for authorities whose keys it still holds."""

    module: FilePath | None = key("The vendor's PKCS #11 library.", default=None, shown="none")
    token: TokenText | None = key("Label of the token.", default=None, shown="none")
    serial: TokenText | None = key(
        "Serial number of the token, where several have the label.", default=None, shown="none"
    )
    pin_file: FilePath | None = key(
        "File with the user PIN, closed to other users. Read at each login.", default=None, shown="none"
    )
    timeout: Duration = key(
        "How long a signature waits for those before it, until the token counts as lost.",
        default=10 * _SECOND,
        ge=_SECOND,
        le=timedelta(minutes=5),
    )


class KeyManagerSection(Section):
    """Where the private keys of new authorities are made and kept. Authorities that there are keep theirs."""

    plugin: KeyManagerName = key(
        "`wrapped`: in the database, wrapped by the key-encryption key. `pkcs11`: in a token, which they never leave. "
        "`vault_transit`: in Vault, which they never leave.",
        default="wrapped",
    )
    pkcs11: Pkcs11Section = Pkcs11Section()
    vault_transit: TransitKeysSection = TransitKeysSection()

    @model_validator(mode="after")
    def _check(self) -> Self:
        token = self.pkcs11
        needed = {"module": token.module, "token": token.token, "pin_file": token.pin_file}
        if self.plugin == "pkcs11" or any(value is not None for value in needed.values()):
            cross_check(
                [
                    Problem(f"pkcs11.{name}", "is needed for a PKCS #11 token")
                    for name, value in needed.items()
                    if value is None
                ]
            )
        if self.plugin == VAULT_TRANSIT and not self.vault_transit.mount:
            cross_check([Problem("vault_transit.mount", "is needed for keys in Vault")])
        return self

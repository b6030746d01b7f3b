"""A real PKCS #11 token in software (SoftHSM2): a folder that can be carried away and brought back."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

from ca.key_managers.token import TokenConfig
from ca.masked import Masked

PIN, SO_PIN = "7281-user", "9305-officer"
_MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib/pkcs11/libsofthsm2.so")


class SoftHsmMissing(Exception):
    """Why there is no token here."""


class SoftHsm:
    """One folder of tokens. The library reads its settings from SOFTHSM2_CONF when it is initialised: see `environ`."""

    def __init__(self, folder: Path) -> None:
        found = next((path for path in _MODULES if Path(path).exists()), None)
        if found is None or shutil.which("softhsm2-util") is None:
            raise SoftHsmMissing("SoftHSM2 is not installed (Debian: apt-get install softhsm2)")
        self.module = found
        self.tokens = folder / "tokens"
        self.tokens.mkdir(parents=True)
        self._away = folder / "away"
        self._conf = folder / "softhsm2.conf"
        self._conf.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = true\n"
        )
        self.pin = PIN

    @property
    def environ(self) -> dict[str, str]:
        return {"SOFTHSM2_CONF": str(self._conf)}

    def create(self, label: str) -> None:
        """One more token, empty."""
        self._util("--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN)

    def unplug(self) -> None:
        self.tokens.rename(self._away)

    def plug_in(self) -> None:
        self._away.rename(self.tokens)

    def config(self, label: str, *, serial: str = "", timeout: timedelta = timedelta(seconds=10)) -> TokenConfig:
        return TokenConfig(self.module, label, lambda: Masked(self.pin), serial, timeout)

    def _util(self, *arguments: str) -> None:
        subprocess.run(
            ["softhsm2-util", *arguments],
            env=os.environ | self.environ,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=30,
        )

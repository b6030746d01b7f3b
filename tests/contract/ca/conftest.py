"""Custodians of keys, each with what it keeps its keys in, so that one can be opened after the other over the same keys."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from ca.catalog import KEY_MANAGERS, KeyManagerParts
from ca.key_manager import KeyManager
from ca.key_managers import transit
from ca.key_managers.transit import TransitConfig
from ca.key_managers.wrapped import WrappedKeyManager
from sds.vault.transit import TransitKeys
from tests.fakes.ca import TRUST_DOMAIN, FakeWrappedKeyStore, make_key_ring
from tests.fakes.softhsm import SoftHsm, SoftHsmMissing
from tests.fakes.vault_direct import DirectVault
from tests.fakes.vault_server import VaultBinary, VaultServer, vault_binaries

TOKEN = "sds test"

Open: TypeAlias = Callable[[], Awaitable[KeyManager]]
"""Another process's custodian over the same keys: the one before is closed."""


@pytest.fixture
def softhsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    """A token that nobody has used."""
    try:
        hsm = SoftHsm(tmp_path / "softhsm")
    except SoftHsmMissing as missing:
        pytest.skip(str(missing))
    for name, value in hsm.environ.items():
        monkeypatch.setenv(name, value)
    hsm.create(TOKEN)
    return hsm


def engine(vault: VaultServer) -> TransitConfig:
    """A Transit engine that nobody has used."""
    return TransitConfig(TransitKeys(DirectVault(vault), vault.mount("transit")))


PLACES: list[tuple[str, VaultBinary | None]] = [
    *((name, None) for name in KEY_MANAGERS if name != transit.NAME),
    *((transit.NAME, binary) for binary in vault_binaries()),
]


@pytest.fixture(params=PLACES, ids=lambda place: "-".join(str(part) for part in place if part))
def place(request: pytest.FixtureRequest) -> tuple[str, VaultBinary | None]:
    """A custodian, and for one in Vault the server."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def name(place: tuple[str, VaultBinary | None]) -> str:
    return place[0]


@pytest.fixture
async def reopen(
    name: str,
    place: tuple[str, VaultBinary | None],
    vaults: Callable[[VaultBinary], VaultServer],
    request: pytest.FixtureRequest,
) -> AsyncIterator[Open]:
    """See Open."""
    store = FakeWrappedKeyStore()
    token = request.getfixturevalue("softhsm").config(TOKEN) if name == "pkcs11" else None
    in_vault = None if place[1] is None else engine(vaults(place[1]))
    opened: list[KeyManager] = []

    async def opener() -> KeyManager:
        for manager in opened:
            await manager.close()
        wrapped = WrappedKeyManager(store, make_key_ring(), TRUST_DOMAIN, os.urandom)
        made = KEY_MANAGERS[name](KeyManagerParts(TRUST_DOMAIN, os.urandom, time.monotonic, wrapped, token, in_vault))
        assert made is not None
        opened[:] = [made]
        return made

    yield opener
    for manager in opened:
        await manager.close()


@pytest.fixture
async def manager(reopen: Open) -> KeyManager:
    """A custodian without keys."""
    return await reopen()

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
from ca.key_managers.wrapped import WrappedKeyManager
from tests.fakes.ca import TRUST_DOMAIN, FakeWrappedKeyStore, make_key_ring
from tests.fakes.softhsm import SoftHsm, SoftHsmMissing

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


@pytest.fixture(params=KEY_MANAGERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def reopen(name: str, request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """See Open."""
    store = FakeWrappedKeyStore()
    token = request.getfixturevalue("softhsm").config(TOKEN) if name == "pkcs11" else None
    opened: list[KeyManager] = []

    async def opener() -> KeyManager:
        for manager in opened:
            await manager.close()
        wrapped = WrappedKeyManager(store, make_key_ring(), TRUST_DOMAIN, os.urandom)
        made = KEY_MANAGERS[name](KeyManagerParts(TRUST_DOMAIN, os.urandom, time.monotonic, wrapped, token))
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

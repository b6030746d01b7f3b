"""A key manager over a real token (SoftHSM2), and what lies in the token."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pkcs11 import Attribute, ObjectClass, Session

from ca.authority import AuthorityKind
from ca.key_manager import ManagedKey
from ca.key_managers.pkcs11 import Pkcs11KeyManager
from ca.key_managers.token import TokenConfig
from tests.contract.ca.conftest import TOKEN
from tests.fakes.ca import TRUST_DOMAIN
from tests.fakes.clock import FakeClock
from tests.fakes.softhsm import SoftHsm

X509 = AuthorityKind.X509
SECRETS = (
    Attribute.VALUE,
    Attribute.PRIVATE_EXPONENT,
    Attribute.PRIME_1,
    Attribute.PRIME_2,
    Attribute.EXPONENT_1,
    Attribute.EXPONENT_2,
    Attribute.COEFFICIENT,
)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def open_manager(softhsm: SoftHsm, clock: FakeClock) -> AsyncIterator[Callable[..., Pkcs11KeyManager]]:
    opened: list[Pkcs11KeyManager] = []

    def opener(config: TokenConfig | None = None) -> Pkcs11KeyManager:
        made = Pkcs11KeyManager(config or softhsm.config(TOKEN), TRUST_DOMAIN, os.urandom, clock.monotonic)
        opened.append(made)
        return made

    yield opener
    for manager in opened:
        await manager.close()


@pytest.fixture
def manager(open_manager: Callable[..., Pkcs11KeyManager]) -> Pkcs11KeyManager:
    return open_manager()


def in_token(manager: Pkcs11KeyManager, work: Callable[[Session], Any]) -> Any:
    """Do something in the manager's own session, as whoever has the PIN can."""
    return manager._token.run(work)


def private_key(session: Session, made: ManagedKey) -> Any:
    key_id = bytes.fromhex(made.ref.removeprefix("pkcs11:"))
    (key,) = session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: key_id})
    return key

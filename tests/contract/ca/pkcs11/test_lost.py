"""PKCS #11 against a real token (SoftHSM2): a lost token comes back by itself, and nobody waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, Session

from ca.errors import AuthorityUnavailable
from ca.key_managers.objects import find_private
from ca.key_managers.pkcs11 import Pkcs11KeyManager
from ca.key_managers.token import RELOAD_AFTER, RETRY_AFTER, KeyNotFound, TokenSession
from ca.keys import KeyType
from tests.contract.ca.conftest import TOKEN
from tests.contract.ca.pkcs11.conftest import X509, in_token
from tests.contract.ca.test_key_managers import verify
from tests.fakes.clock import FakeClock
from tests.fakes.softhsm import SoftHsm


async def test_a_token_that_is_taken_away_and_brought_back(
    manager: Pkcs11KeyManager, softhsm: SoftHsm, clock: FakeClock
) -> None:
    made = await manager.generate(KeyType.ECDSA_P256, X509)
    await manager.check([made.ref])
    softhsm.unplug()
    with pytest.raises(AuthorityUnavailable, match="sds test"):
        made.signer.sign([b"while away"])
    assert "sds test" in (manager.problem(made.ref) or "")
    clock.advance(RETRY_AFTER)
    with pytest.raises(AuthorityUnavailable):
        await manager.check([made.ref])
    with pytest.raises(AuthorityUnavailable):
        await manager.generate(KeyType.ECDSA_P256, X509)
    softhsm.plug_in()
    clock.advance(RETRY_AFTER)
    (signature,) = made.signer.sign([b"back"])
    verify(made.signer.public_key, signature, b"back")
    assert manager.problem(made.ref) is None


async def test_an_idle_check_notices_both(manager: Pkcs11KeyManager, softhsm: SoftHsm, clock: FakeClock) -> None:
    """Nobody signs: the check alone sees the token go and come."""
    made = await manager.generate(KeyType.ECDSA_P256, X509)
    softhsm.unplug()
    with pytest.raises(AuthorityUnavailable):
        await manager.check([made.ref])
    assert manager.problem(made.ref)
    softhsm.plug_in()
    clock.advance(RETRY_AFTER)
    await manager.check([made.ref])
    assert manager.problem(made.ref) is None


async def test_what_failed_is_not_tried_again_at_once(
    manager: Pkcs11KeyManager, softhsm: SoftHsm, clock: FakeClock
) -> None:
    made = await manager.generate(KeyType.ECDSA_P256, X509)
    softhsm.unplug()
    with pytest.raises(AuthorityUnavailable):
        made.signer.sign([b"m"])
    softhsm.plug_in()
    with pytest.raises(AuthorityUnavailable):
        made.signer.sign([b"m"])
    clock.advance(RETRY_AFTER)
    assert made.signer.sign([b"m"])


async def test_a_module_is_seldom_initialised_anew(softhsm: SoftHsm, clock: FakeClock) -> None:
    """All of Python waits for that; a module of a network HSM that is away may take its time."""

    class Counting(TokenSession):
        reloads = 0

        def _open_module(self) -> Session:
            self.reloads += 1
            return super()._open_module()

    token = Counting(softhsm.config(TOKEN), clock.monotonic)
    token.run(lambda session: session)
    softhsm.unplug()

    def search(session: Session) -> None:
        find_private(session, b"x")

    for seconds in range(60):
        with pytest.raises(AuthorityUnavailable):
            token.run(search)
        assert token.reloads == 1 + seconds // RELOAD_AFTER
        clock.advance(1)
    softhsm.plug_in()
    with pytest.raises(KeyNotFound):
        token.run(search)
    await asyncio.to_thread(token.close)


@pytest.mark.parametrize("cut", ["session", "module"])
async def test_a_cut_session_is_opened_again_without_an_error(
    manager: Pkcs11KeyManager, softhsm: SoftHsm, cut: str
) -> None:
    made = await manager.generate(KeyType.ECDSA_P256, X509)
    before = manager.sessions
    if cut == "session":
        in_token(manager, lambda session: session.close())
    else:
        pkcs11.lib(softhsm.module).finalize()  # as another part of the process may do
    for message in (b"one", b"two"):
        (signature,) = made.signer.sign([message])
        verify(made.signer.public_key, signature, message)
    assert manager.sessions > before


async def test_a_key_that_is_gone_costs_the_others_nothing(
    manager: Pkcs11KeyManager, open_manager: Callable[..., Pkcs11KeyManager]
) -> None:
    made, gone = [await manager.generate(KeyType.ECDSA_P256, X509) for _ in range(2)]
    key_id = bytes.fromhex(gone.ref.removeprefix("pkcs11:"))

    def destroy(session: Session) -> None:
        for key in list(session.get_objects({Attribute.ID: key_id})):
            key.destroy()

    in_token(manager, destroy)
    for _ in range(2):
        with pytest.raises(AuthorityUnavailable, match="is not in the PKCS #11 token"):
            await manager.check([made.ref, gone.ref])
    sessions = manager.sessions
    for _ in range(3):
        with pytest.raises(AuthorityUnavailable, match="is not in the PKCS #11 token"):
            gone.signer.sign([b"m"])
        with pytest.raises(AuthorityUnavailable):
            await manager.check([made.ref, gone.ref])
        assert made.signer.sign([b"m"])
    assert manager.sessions == sessions
    assert manager.problem(made.ref) is None
    assert manager.problem(gone.ref)


async def test_a_token_that_was_made_anew_has_lost_the_keys(
    manager: Pkcs11KeyManager, softhsm: SoftHsm, tmp_path: Path
) -> None:
    made = await manager.generate(KeyType.ECDSA_P256, X509)
    softhsm.unplug()
    softhsm.tokens.mkdir()
    softhsm.create(TOKEN)
    with pytest.raises(AuthorityUnavailable, match="is not in the PKCS #11 token: connect the token"):
        made.signer.sign([b"m"])
    assert (await manager.generate(KeyType.ECDSA_P256, X509)).signer.sign([b"m"])


async def test_a_token_that_hangs_holds_nobody_up_for_long(
    open_manager: Callable[..., Pkcs11KeyManager], softhsm: SoftHsm
) -> None:
    """One call is stuck in the module: others give up in time, the event loop goes on, and the token comes back."""
    manager = open_manager(softhsm.config(TOKEN, timeout=timedelta(milliseconds=100)))
    made = await manager.generate(KeyType.ECDSA_P256, X509)
    stuck, go_on = threading.Event(), threading.Event()

    def hang(_session: Session) -> None:
        stuck.set()
        assert go_on.wait(30)

    hanging = asyncio.get_running_loop().run_in_executor(None, in_token, manager, hang)
    assert await asyncio.to_thread(stuck.wait, 10)
    with pytest.raises(AuthorityUnavailable, match=r"has not answered for 0\.1 s"):
        await manager.check([made.ref])
    with pytest.raises(AuthorityUnavailable, match="has not answered"):
        await asyncio.to_thread(made.signer.sign, [b"m"])
    assert "has not answered" in (manager.problem(made.ref) or "")
    go_on.set()
    await hanging
    assert made.signer.sign([b"m"])
    assert manager.problem(made.ref) is None

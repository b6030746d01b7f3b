"""PKCS #11 against a real token (SoftHSM2): the key cannot get out, and only the right key is used."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute, MechanismFlag, Session, TokenFlag
from pkcs11 import KeyType as TokenKeyType
from pkcs11.exceptions import AttributeReadOnly, AttributeSensitive, AttributeTypeInvalid, KeyUnextractable

from ca.errors import AuthorityUnavailable
from ca.key_managers.pkcs11 import Pkcs11KeyManager
from ca.key_managers.token import RETRY_AFTER, TokenSession
from ca.keys import KeyType
from ca.masked import Masked
from tests.contract.ca.conftest import TOKEN
from tests.contract.ca.pkcs11.conftest import SECRETS, X509, in_token, private_key
from tests.contract.ca.test_key_managers import verify
from tests.fakes.clock import FakeClock
from tests.fakes.softhsm import PIN, SoftHsm


@pytest.mark.parametrize("key_type", [KeyType.ECDSA_P256, KeyType.RSA_2048])
async def test_the_private_value_cannot_be_had(manager: Pkcs11KeyManager, key_type: KeyType) -> None:
    """Not even by somebody with the PIN: not read, not wrapped, not made readable, not copied into something that is."""
    made = await manager.generate(key_type, X509)

    def attack(session: Session) -> None:
        key = private_key(session, made)
        assert (key[Attribute.SENSITIVE], key[Attribute.ALWAYS_SENSITIVE]) == (True, True)
        assert (key[Attribute.EXTRACTABLE], key[Attribute.NEVER_EXTRACTABLE]) == (False, True)
        assert (key[Attribute.PRIVATE], key[Attribute.LOCAL]) == (True, True)
        assert not (key[Attribute.DECRYPT] or key[Attribute.UNWRAP] or key[Attribute.DERIVE])
        refused = 0
        for attribute in SECRETS:
            with pytest.raises((AttributeSensitive, AttributeTypeInvalid)) as caught:
                key[attribute]
            refused += isinstance(caught.value, AttributeSensitive)
        assert refused == (1 if key_type is KeyType.ECDSA_P256 else 6)
        wrapping = session.generate_key(TokenKeyType.AES, 256, capabilities=MechanismFlag.WRAP | MechanismFlag.UNWRAP)
        with pytest.raises(KeyUnextractable):
            wrapping.wrap_key(key)
        for attribute, value in ((Attribute.EXTRACTABLE, True), (Attribute.SENSITIVE, False)):
            with pytest.raises(AttributeReadOnly):
                key[attribute] = value
            with pytest.raises(AttributeReadOnly):
                key.copy({attribute: value})

    in_token(manager, attack)


async def test_no_key_rests_outside_the_token(manager: Pkcs11KeyManager, softhsm: SoftHsm) -> None:
    """The process holds a public key and a number; the token's own files hold it only encrypted by the PIN."""
    made = await manager.generate(KeyType.ECDSA_P256, X509)
    slots = {name: getattr(made.signer, name) for name in type(made.signer).__slots__}
    assert set(slots) == {"_handle", "_key_id", "_manager", "_session", "public_key"}
    label = in_token(manager, lambda session: private_key(session, made)[Attribute.LABEL])
    assert label == "x509 example.org"


async def test_a_key_that_could_leave_is_not_used(manager: Pkcs11KeyManager) -> None:
    """Somebody with the PIN puts a key of his own in the place of ours: he has a copy of it."""
    made = await manager.generate(KeyType.RSA_2048, X509)
    key_id = bytes.fromhex(made.ref.removeprefix("pkcs11:"))
    await manager.forget(made.ref)

    def plant(session: Session) -> None:
        session.generate_keypair(
            TokenKeyType.RSA, 2048, id=key_id, store=True, private_template={Attribute.EXTRACTABLE: True}
        )

    in_token(manager, plant)
    with pytest.raises(AuthorityUnavailable, match="can be taken out of the token"):
        await manager.signer(made.ref)
    with pytest.raises(AuthorityUnavailable, match="can be taken out of the token"):
        made.signer.sign([b"m"])


async def test_another_key_under_the_same_id_is_not_used(manager: Pkcs11KeyManager) -> None:
    made, other = [await manager.generate(KeyType.ECDSA_P256, X509) for _ in range(2)]
    key_id, other_id = (bytes.fromhex(key.ref.removeprefix("pkcs11:")) for key in (made, other))

    def swap(session: Session) -> None:
        private_key(session, made)[Attribute.ID] = b"away"
        private_key(session, other)[Attribute.ID] = key_id

    in_token(manager, swap)
    await manager.close()
    with pytest.raises(AuthorityUnavailable, match="another key than the one that it shows"):
        made.signer.sign([b"m"])
    with pytest.raises(AuthorityUnavailable, match=other_id.hex()):
        other.signer.sign([b"m"])


async def test_two_keys_of_one_id_are_refused(manager: Pkcs11KeyManager) -> None:
    made = await manager.generate(KeyType.ECDSA_P256, X509)
    key_id = bytes.fromhex(made.ref.removeprefix("pkcs11:"))
    in_token(manager, lambda session: session.generate_keypair(TokenKeyType.RSA, 2048, id=key_id, store=True))
    await manager.close()
    with pytest.raises(AuthorityUnavailable, match="has 2 keys with the id"):
        made.signer.sign([b"m"])


async def test_a_wrong_pin_is_tried_once(manager: Pkcs11KeyManager, softhsm: SoftHsm, clock: FakeClock) -> None:
    """Tokens lock themselves after a few: a service that goes on trying would lock everybody out."""
    softhsm.pin = "00000000"
    for expected in ("refuses the PIN", "has refused the PIN", "has refused the PIN"):
        with pytest.raises(AuthorityUnavailable, match=expected) as caught:
            await manager.check([])
        assert "00000000" not in repr(caught.value) + str(caught.value.__cause__)
        clock.advance(RETRY_AFTER)
    softhsm.pin = PIN
    await manager.check([])
    assert manager.sessions == 1


async def test_a_pin_that_cannot_be_read(open_manager: Callable[..., Pkcs11KeyManager], softhsm: SoftHsm) -> None:
    def unreadable() -> Masked[str]:
        raise AuthorityUnavailable("the PIN file cannot be read")

    with pytest.raises(AuthorityUnavailable, match="PIN file cannot be read"):
        await open_manager(replace(softhsm.config(TOKEN), pin=unreadable)).check([])


async def test_tokens_of_the_same_name_are_told_apart_by_serial(
    open_manager: Callable[..., Pkcs11KeyManager], softhsm: SoftHsm
) -> None:
    softhsm.create("other")
    softhsm.create(TOKEN)
    first = open_manager()
    with pytest.raises(AuthorityUnavailable, match="2 tokens are called 'sds test': name one by its serial"):
        await first.check([])
    slots = pkcs11.lib(softhsm.module).get_slots(token_present=True)
    serials = [token.serial.decode() for slot in slots if (token := slot.get_token()).label == TOKEN]
    await first.close()
    chosen = open_manager(softhsm.config(TOKEN, serial=serials[0]))
    made = await chosen.generate(KeyType.ECDSA_P256, X509)
    await chosen.close()
    with pytest.raises(AuthorityUnavailable, match="is not in the PKCS #11 token"):
        await open_manager(softhsm.config(TOKEN, serial=serials[1])).signer(made.ref)


@pytest.mark.parametrize("broken", ["module", "no_library", "label", "settings"])
async def test_what_is_set_up_wrongly_is_said(
    open_manager: Callable[..., Pkcs11KeyManager],
    softhsm: SoftHsm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    text = tmp_path / "text.so"
    text.write_text("no library")
    config = softhsm.config(TOKEN)
    if broken == "settings":
        monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "missing"))
    changed = {"module": {"module": "/nonexistent.so"}, "no_library": {"module": str(text)}, "label": {"label": "else"}}
    with pytest.raises(AuthorityUnavailable, match="PKCS #11 token"):
        await open_manager(replace(config, **changed.get(broken, {}))).check([])


SIGN = """
import asyncio, json, os, sys, time
from attestation.spiffe_id import TrustDomain
from ca.key_managers.pkcs11 import Pkcs11KeyManager
from ca.key_managers.token import TokenConfig
from ca.masked import Masked

async def main(module, label, pin, ref):
    config = TokenConfig(module, label, lambda: Masked(pin))
    manager = Pkcs11KeyManager(config, TrustDomain("example.org"), os.urandom, time.monotonic)
    signer = await manager.signer(ref)
    signatures = [signer.sign([str(number).encode()])[0].hex() for number in range(200)]
    await manager.close()
    print(json.dumps(signatures))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_share_a_token(manager: Pkcs11KeyManager, softhsm: SoftHsm) -> None:
    """Replicas with one token: a key that one made signs in the others, all at the same time."""
    made = await manager.generate(KeyType.ECDSA_P256, X509)
    others = [
        subprocess.Popen(
            [sys.executable, "-c", SIGN, softhsm.module, TOKEN, PIN, made.ref],
            env=os.environ | softhsm.environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    made.signer.sign([b"meanwhile"] * 200)
    for other in others:
        out, _ = await asyncio.to_thread(other.communicate, timeout=60)
        assert other.returncode == 0
        for number, signature in enumerate(json.loads(out)):
            verify(made.signer.public_key, bytes.fromhex(signature), str(number).encode())


@pytest.mark.parametrize(
    ("flag", "said"),
    [(TokenFlag.USER_PIN_FINAL_TRY, "locks itself at the next wrong PIN"), (TokenFlag.USER_PIN_LOCKED, "unlock it")],
)
def test_a_token_that_is_about_to_lock_is_left_alone(softhsm: SoftHsm, flag: TokenFlag, said: str) -> None:
    """SoftHSM never gets there, so its answer is made up."""

    class Warned:
        label, serial, flags = TOKEN, b"", TokenFlag.TOKEN_INITIALIZED | flag

        def open(self, **_: object) -> None:
            raise AssertionError("nobody logs in")

    class Found(TokenSession):
        def _find(self) -> Any:
            return Warned()

    with pytest.raises(AuthorityUnavailable, match=said):
        Found(softhsm.config(TOKEN), FakeClock().monotonic).run(lambda session: session)

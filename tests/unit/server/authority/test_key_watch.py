"""The loss of a key manager is told once, shown while it lasts, and over by itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from attestation.spiffe_id import TrustDomain
from ca.errors import AuthorityUnavailable, CaError, KeyManagerUnavailable
from ca.key_manager import KeyManagers
from ca.keys import KeyType
from sds.metrics import ServerMetrics
from sds.server.authority.custody import open_custody
from sds.server.authority.kek_file import KekFile
from sds.server.authority.key_watch import KeyWatch
from sds.server.events import Events
from sds.store.store import Store
from tests.fakes.clock import FakeClock
from tests.fakes.key_manager import UNPLUGGED, FakeKeyManager
from tests.fakes.rotation import make_authorities


class World:
    """Two key managers, a key in each, and what watches them."""

    def __init__(self) -> None:
        self.wrapped, self.token = FakeKeyManager("wrapped"), FakeKeyManager("pkcs11")
        self.keys = KeyManagers({"wrapped": self.wrapped, "pkcs11": self.token}, "pkcs11")
        self.refs: set[str] = set()
        self.file_problem: CaError | None = None
        self.registry = CollectorRegistry()
        self.watch = KeyWatch(self.keys, lambda: self.refs, self.check_file, ServerMetrics(self.registry))

    async def check_file(self) -> None:
        if self.file_problem is not None:
            raise self.file_problem

    def up(self, name: str) -> float | None:
        return self.registry.get_sample_value("sds_server_key_manager_up", {"key_manager": name})


def logged(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in "".join(capsys.readouterr()).splitlines() if "key_manager" in line]


async def test_a_loss_is_told_once_and_its_end_too(capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    world.refs = {(await world.keys.generate(KeyType.ECDSA_P256, "x509")).ref}
    await world.watch.look()
    assert (world.up("wrapped"), world.up("pkcs11")) == (1, 1)
    assert await world.watch.readiness() is None
    assert logged(capsys) == []
    world.token.unplugged = True
    for _ in range(3):
        await world.watch.look()
    assert (world.up("wrapped"), world.up("pkcs11")) == (1, 0)
    assert await world.watch.readiness() == f"pkcs11: {UNPLUGGED}"
    assert len(logged(capsys)) == 1
    world.token.unplugged = False
    for _ in range(3):
        await world.watch.look()
    assert world.up("pkcs11") == 1
    assert await world.watch.readiness() is None
    assert world.watch.problems == {}
    assert len(logged(capsys)) == 1


async def test_each_is_asked_for_its_own_keys_alone() -> None:
    world = World()
    made = await world.token.generate(KeyType.ECDSA_P256, "x509")
    world.refs = {made.ref, "wrapped:ff"}
    await world.watch.look()
    assert world.watch.problems == {"wrapped": "there is no key wrapped:ff"}
    assert (world.up("wrapped"), world.up("pkcs11")) == (0, 1)


async def test_a_key_of_a_manager_that_is_not_configured_is_told() -> None:
    world = World()
    world.refs = {"transit:1"}
    await world.watch.look()
    assert "not configured" in (await world.watch.readiness() or "")
    assert (world.up("transit"), world.up("pkcs11")) == (0, 1)
    with pytest.raises(AuthorityUnavailable, match="not configured"):
        await world.keys.check(world.refs)
    world.refs = set()
    await world.watch.look()
    assert world.watch.problems == {}
    assert world.up("transit") == 1


async def test_a_lost_key_file_is_told_before_the_restart_that_needs_it(
    store: Store, events: Events, tmp_path: Path
) -> None:
    file = tmp_path / "kek"
    custody = await open_custody(store, KekFile(file, os.urandom), TrustDomain("example.org"), events, os.urandom)
    made = await custody.manager.generate(KeyType.ECDSA_P256, "x509")
    keys = KeyManagers({"wrapped": custody.manager}, "wrapped")
    watch = KeyWatch(keys, lambda: {made.ref}, custody.check, ServerMetrics(CollectorRegistry()))
    await watch.look()
    assert watch.problems == {}
    kept = file.read_bytes()
    file.unlink()
    await watch.look()
    assert "is gone" in watch.problems["wrapped"]
    assert keys.problem(made.ref) is None  # it goes on signing
    KekFile(file, os.urandom).create()
    await watch.look()
    assert "holds another key-encryption key" in watch.problems["wrapped"]
    file.write_bytes(kept)
    await watch.look()
    assert watch.problems == {}


async def test_nothing_is_recorded_that_could_not_be_signed(store: Store, events: Events, clock: FakeClock) -> None:
    """Once the loss is known, issuance is refused before its intent; and served again as soon as it is over."""
    token = FakeKeyManager()
    authorities = make_authorities(store, token, events, clock)
    await authorities.ensure()
    signing = authorities.signing()
    token.unplugged = True
    with pytest.raises(AuthorityUnavailable, match=UNPLUGGED):
        signing.signer.sign([b"m"])
    with pytest.raises(KeyManagerUnavailable, match="cannot be used now: the fake token is unplugged"):
        authorities.signing()
    await authorities.tick()  # what stands stays
    token.unplugged = False
    await token.check([])
    assert authorities.signing() == signing

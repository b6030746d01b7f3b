"""Vault servers as fixtures, known to all tests by tests/conftest.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.vault_server import RAFT, VaultBinary, VaultServer, vault_binaries, vault_server


def second_vault(value: object) -> bool:
    """Whether a parameter of a test stands for another Vault than the first one."""
    parts = value if isinstance(value, tuple) else (value,)
    return any(isinstance(part, VaultBinary) and part != vault_binaries()[0] for part in parts)


def mark_backends(items: Iterable[pytest.Item]) -> None:
    """What a second Vault repeats is slow, unless it is marked `both_vaults`; so is what `slow_on` names."""
    for item in items:
        if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            continue
        values = item.callspec.params.values()
        if any(map(second_vault, values)) and not item.get_closest_marker("both_vaults"):
            item.add_marker(pytest.mark.second_vault)
        if item.get_closest_marker("second_vault"):
            item.add_marker(pytest.mark.slow)
        for marker in item.iter_markers("slow_on"):
            if set(marker.args) & {value for value in values if isinstance(value, str)}:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", params=vault_binaries(), ids=str)
def vault_binary(request: pytest.FixtureRequest) -> VaultBinary:
    """OpenBao, and Vault where SDS_TEST_VAULT names one."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def vaults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[VaultBinary], VaultServer]]:
    """The shared servers, each started when it is first asked for: for suites that Vault is one parameter of many in."""
    with ExitStack() as running:
        started: dict[str, VaultServer] = {}

        def shared(binary: VaultBinary) -> VaultServer:
            if binary.name not in started:
                folder = tmp_path_factory.mktemp(f"shared-{binary}")
                started[binary.name] = running.enter_context(vault_server(binary, folder))
            return started[binary.name]

        yield shared


@pytest.fixture(scope="session")
def vault_shared(vault_binary: VaultBinary, vaults: Callable[[VaultBinary], VaultServer]) -> VaultServer:
    """One in dev mode for all tests that keep to mounts, policies and tokens of their own and never stop it."""
    return vaults(vault_binary)


@pytest.fixture
def vault_own(vault_binary: VaultBinary, tmp_path: Path) -> Iterator[VaultServer]:
    """One in dev mode for this test alone."""
    with vault_server(vault_binary, tmp_path / "vault") as server:
        yield server


@pytest.fixture
def vault_on_disk(vault_binary: VaultBinary, tmp_path: Path) -> Iterator[VaultServer]:
    """One with TLS and storage on disk for this test alone: it can be sealed, killed and started again."""
    with vault_server(vault_binary, tmp_path / "vault", RAFT) as server:
        yield server

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sds.store.store import Store
from tests.contract.secrets.harness import Ability, Harness, World
from tests.contract.secrets.table import HARNESSES
from tests.fakes.clock import FakeClock
from tests.fakes.vault_fixtures import second_vault


@pytest.fixture
async def harness(request: pytest.FixtureRequest, store: Store, clock: FakeClock) -> AsyncIterator[Harness]:
    """The backend of the name that the test is parametrized with, over an empty source."""
    async with HARNESSES[request.param].open(World(store, clock, request)) as opened:
        yield opened


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test for the backends that can do what it needs."""
    if "harness" not in metafunc.fixturenames:
        return
    wanted: frozenset[Ability] = getattr(metafunc.function, "needs", frozenset())
    able = {name: harness for name, harness in HARNESSES.items() if wanted <= harness.abilities}
    both = bool(list(metafunc.definition.iter_markers("both_vaults")))
    params = [
        pytest.param(name, marks=pytest.mark.second_vault)
        if second_vault(getattr(harness, "binary", None)) and not both
        else name
        for name, harness in able.items()
    ]
    metafunc.parametrize("harness", params, indirect=True)

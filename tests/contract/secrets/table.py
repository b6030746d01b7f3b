"""Every backend that the suite runs over, by its name."""

from __future__ import annotations

from tests.contract.secrets.database import DatabaseHarness
from tests.contract.secrets.embedded import EmbeddedHarness
from tests.contract.secrets.harness import Harness

HARNESSES: dict[str, type[Harness]] = {
    DatabaseHarness.name: DatabaseHarness,
    EmbeddedHarness.name: EmbeddedHarness,
}

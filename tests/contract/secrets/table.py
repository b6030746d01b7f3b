"""Every backend that the suite runs over, by its name."""

from __future__ import annotations

from tests.contract.secrets.database import DatabaseHarness
from tests.contract.secrets.embedded import EmbeddedHarness
from tests.contract.secrets.harness import Harness
from tests.contract.secrets.kv import kv_harnesses
from tests.contract.secrets.pki import pki_harnesses

HARNESSES: dict[str, type[Harness]] = {
    DatabaseHarness.name: DatabaseHarness,
    EmbeddedHarness.name: EmbeddedHarness,
    **kv_harnesses(),
    **pki_harnesses(),
}

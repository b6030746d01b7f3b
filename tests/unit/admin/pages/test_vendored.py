"""Scripts that are not ours are what was published: their hashes stand here and in .ci/vendor, which fetches them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
HASHES = {
    "sds/admin/pages/static/htmx.min.js": "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
    "tests/e2e/pages/vendor/axe.min.js": "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c",
}


@pytest.mark.parametrize("path", HASHES)
def test_a_vendored_script_is_what_was_published(path: str) -> None:
    file = ROOT / path
    assert sha256(file.read_bytes()).hexdigest() == HASHES[path]
    assert path in (ROOT / ".ci" / "vendor").read_text()
    assert (file.parent / f"{file.name.removesuffix('.min.js')}.LICENSE.txt").read_text()


def test_pages_load_no_other_script() -> None:
    folder = ROOT / "sds" / "admin" / "pages" / "static"
    assert {each.name for each in folder.glob("*.js")} == {"htmx.min.js", "sds.js"}

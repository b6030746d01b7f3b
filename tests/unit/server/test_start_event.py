"""What the log says of a start: fingerprints that tell two configurations apart, and nothing of what stands in them."""

from __future__ import annotations

import json

from sds import __version__
from sds.config import ServerConfig
from sds.server.wiring.ledger import start_details


def config(**changes: object) -> ServerConfig:
    return ServerConfig.model_validate({"trust_domain": "example.org", **changes})


def test_fingerprints_and_no_values() -> None:
    database = {"url": "postgresql://sds:s3cret-password@db.example.org/sds"}
    details = start_details(config(database=database))
    assert details["version"] == __version__
    text = json.dumps(details)
    assert "s3cret-password" not in text
    assert "db.example.org" not in text
    sections = details["sections"]
    assert isinstance(sections, dict)
    assert {"database", "audit", "ca", "trust_domain"} <= set(sections)
    assert all(isinstance(each, str) and len(each) == 16 for each in sections.values())


def test_a_section_that_changed_is_told_apart() -> None:
    before = start_details(config())
    after = start_details(config(audit={"retention": "400d"}))
    assert before["configuration"] != after["configuration"]
    old, new = before["sections"], after["sections"]
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    assert {name for name in new if old.get(name) != new[name]} == {"audit"}

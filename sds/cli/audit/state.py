"""What this machine remembers of each log: the keys that it trusts, and the newest checkpoint that it has verified."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sds.cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from sds.cli.admin import Admin

VERSION = 1
_MOST_BYTES = 4 * 1024 * 1024
FILE_VARIABLE = "SDS_AUDIT_STATE_FILE"


@dataclass(slots=True)
class State:
    """Of one log, in a file that may have others. `keys` and `checkpoint` are texts; empty if none are remembered."""

    path: Path
    place: str
    keys: list[str] = field(default_factory=list)
    checkpoint: str = ""

    def save(self) -> None:
        """Whole or not at all, readable by its owner. Raises CliError."""
        document = _read(self.path)
        document["logs"] = {
            **document.get("logs", {}),
            self.place: {"keys": self.keys, "checkpoint": self.checkpoint},
        }
        document["version"] = VERSION
        new = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(document, stream, indent=1)
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(self.path)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise CliError(ExitCode.FAILED, f"{self.path} cannot be written: {error.strerror}") from None


def open_state(admin: Admin, path: Path | None = None) -> State:
    """What is remembered of the log behind this API. Raises CliError for a file that is there and cannot be read."""
    path = path or default_path()
    place = admin.url or str(admin.socket)
    found = _read(path).get("logs", {}).get(place, {})
    keys, checkpoint = found.get("keys", []), found.get("checkpoint", "")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or not isinstance(checkpoint, str):
        raise _broken(path)
    return State(path, place, keys, checkpoint)


def default_path() -> Path:
    """By the XDG base directory specification, or where the environment says."""
    if given := os.environ.get(FILE_VARIABLE):
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME", "")
    home = Path(base) if base.startswith("/") else Path("~/.local/state").expanduser()
    return home / "sds" / "audit.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CliError(ExitCode.FAILED, f"{path} cannot be read: {error.strerror}") from None
    try:
        document = json.loads(raw) if len(raw) <= _MOST_BYTES else None
    except (ValueError, RecursionError):
        document = None
    logs = document.get("logs", {}) if isinstance(document, dict) else None
    if not isinstance(document, dict) or document.get("version") != VERSION or not isinstance(logs, dict):
        raise _broken(path)
    if not all(isinstance(each, dict) for each in logs.values()):
        raise _broken(path)
    return document


def _broken(path: Path) -> CliError:
    return CliError(
        ExitCode.FAILED,
        f"{path} is not what this program wrote, so that it cannot be said what was remembered",
        advice="find out why; then remove it, and verify with --key or --checkpoint from elsewhere",
    )

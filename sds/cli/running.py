"""What `server run` and `agent run` share: from flags to a configuration, or to the list of what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sds.cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from sds.config import ConfigError

C = TypeVar("C")
Loader = Callable[[Path | None, Mapping[str, str], Mapping[str, object]], C]


def load(loader: Loader[C], prefix: str, file: Path | None, flags: Mapping[str, object]) -> C:
    """The configuration from the file (or the one that ``PREFIX_CONFIG`` names), the environment and the flags."""
    from sds.config import ConfigError  # noqa: PLC0415  # keeps `sds --help` quick

    named = os.environ.get(f"{prefix}CONFIG")
    chosen = file or (Path(named) if named else None)
    given = {key: _text(value) for key, value in flags.items() if value is not None}
    try:
        return loader(chosen, os.environ, given)
    except ConfigError as error:
        raise invalid(error) from None


def invalid(error: ConfigError, where: str = "the configuration") -> CliError:
    """All problems, each with its key's path."""
    return CliError(
        ExitCode.CONFIG,
        f"{where} cannot be used",
        problems=[str(each) for each in error.problems],
        advice="docs/config.md lists every key. `sds config check` checks without starting anything.",
    )


def _text(value: object) -> object:
    return str(value) if isinstance(value, Path) else value

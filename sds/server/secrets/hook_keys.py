"""The webhook's keys, read once at start."""

from __future__ import annotations

from pathlib import Path

from ca.masked import Masked
from sds.config import ConfigError, Problem
from sds.config.named_secrets.webhook import WebhookSection
from sds.server.secrets.hook import HookKeys

SHORTEST, LONGEST = 32, 4096


def read_hook_keys(section: WebhookSection) -> HookKeys:
    """Raises ConfigError, which shows nothing of them. Blocks."""
    return HookKeys(
        read_key("secrets.webhook.signing_key_file", section.signing_key_file),
        read_key("secrets.webhook.bearer_file", section.bearer_file),
    )


def read_key(name: str, path: Path | None) -> Masked[bytes] | None:
    """The key in a file that others cannot read; `name` is its configuration key. Raises ConfigError. Blocks."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1).strip()
            others = path.stat().st_mode & 0o007
    except OSError as error:
        raise ConfigError([Problem(name, f"cannot be read: {error.strerror}")]) from None
    if others:
        raise ConfigError([Problem(name, f"can be read by others: chmod 600 {path}")])
    if not SHORTEST <= len(content) <= LONGEST:
        raise ConfigError([Problem(name, f"has not {SHORTEST} to {LONGEST} bytes in it")])
    return Masked(content)

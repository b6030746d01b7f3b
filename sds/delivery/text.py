"""Making a client's words fit for logs and reports. Pure."""

from __future__ import annotations

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
MAX_NAME = 2048  # the longest SPIFFE ID fits
MAX_NODE_ID = 256
MAX_DETAIL = 512


def clean(text: str, limit: int) -> str:
    """`text` on one line, without control or other unprintable characters, at most `limit` characters long."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else REPLACEMENT for c in text)


def clean_name(name: str) -> str:
    """A resource name for people to read."""
    return clean(name, MAX_NAME)

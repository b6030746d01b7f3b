"""Values as queries and headers have them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from sds.client.errors import Unusable

_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,256}"', re.ASCII)


def if_match_header(etag: str | None) -> dict[str, str]:
    """RFC 9110 section 13.1.1: only if it is still as it was read. Raises Unusable."""
    if etag is None:
        return {}
    if not _ETAG.fullmatch(etag):
        raise Unusable("If-Match takes an entity tag, with its quotes")
    return {"If-Match": etag}


def texts(value: object) -> str | list[str]:
    """A query's value as text: truth, times and `labels` as the API reads them; a list is repeated."""
    if isinstance(value, Mapping):
        return [f"{key}={each}" for key, each in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [_text(each) for each in value]
    return _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)

"""What a request asks for, as the audit log may have it: nothing of its body, headers or credentials, and bounded.

1. Of the query only what the operation takes: a secret that somebody puts there under another name is not repeated.
2. What looks like a secret all the same (a private key, a token) is taken out, by the net that the logs have.
3. All of it is ASCII, as URLs write it: no character of anybody's reaches a terminal, and nothing cannot be stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import isclass
from urllib.parse import quote, urlencode

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request

from sds.admin.services.audit import Reading
from sds.redaction import clean_text

PLACES = frozenset({"after", "before", "cursor", "limit", "wait"})
"""Where in a list: paging through one is reading it once."""
OF_PAGES = frozenset({"deed", "incident", "issuer", "reason", "selectors", "value"})
"""What pages take beside what /v1 does: forms that ask what would be."""
MAX_VALUE = 512
MAX_ASKED = 2048
_SAFE = "/:@,.*~"


class Asked:
    """Knows the query parameters of all routes."""

    def __init__(self, routes: Iterable[APIRoute] = ()) -> None:
        self._names = {route.operation_id or "": frozenset(_names(route)) - PLACES for route in routes}
        self._pages = OF_PAGES.union(*self._names.values())

    def names(self, operation: str) -> frozenset[str]:
        """Of query parameters that are noted."""
        return self._pages if operation.startswith("page.") else self._names.get(operation, frozenset())

    def reading(self, request: Request, operation: str) -> Reading:
        names = self.names(operation)
        given = sorted((name, value) for name, value in request.query_params.multi_items() if name in names)
        asked = urlencode([(name, clean_text(value, MAX_VALUE)) for name, value in given], safe=_SAFE, errors="replace")
        target = _path(request) if operation.startswith("page.") else "/".join(map(str, request.path_params.values()))
        return Reading(operation, _ascii(target), asked[:MAX_ASKED])


def _path(request: Request) -> str:
    return str(request.scope["path"])


def _ascii(text: str) -> str:
    return quote(clean_text(text, MAX_VALUE), safe=_SAFE, errors="replace")[:MAX_ASKED]


def _names(route: APIRoute) -> Iterator[str]:
    for parameter in route.dependant.query_params:
        model = parameter.field_info.annotation
        if isclass(model) and issubclass(model, BaseModel):
            for name, field in model.model_fields.items():
                yield field.alias or name
        else:
            yield parameter.alias

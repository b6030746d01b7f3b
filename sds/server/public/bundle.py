"""The SPIFFE bundle endpoint (SPIFFE Federation section 5): the trust bundle as it is at this moment."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ca.bundle import TrustBundle
from sds.server.public.app import cached


def bundle_routes(bundle: Callable[[], TrustBundle], path: str) -> list[BaseRoute]:
    """GET and HEAD of `path`. Nobody is asked who he is (5.2.1.3, 5.2.2.3).

    Caches may keep it but must ask each time: the answer has to be the newest bundle there is.
    """

    async def answer(request: Request) -> Response:
        return cached(request, bundle().spiffe_json(), "application/json")

    return [Route(path, answer, methods=["GET"], name="bundle")]

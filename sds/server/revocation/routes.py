"""CRLs and OCSP over plain HTTP (RFC 5280 4.2.1.13, RFC 6960 appendix A): all of it is signed, none is secret."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ca.errors import OcspRefused
from ca.ocsp.request import OcspRequest, parse_get, parse_request
from ca.ocsp.response import Refusal
from sds.server.public.app import cached
from sds.server.revocation.ocsp import OcspAnswer

T = TypeVar("T")

CRL_PATH = "/crl"
OCSP_PATH = "/ocsp"
CRL_TYPE = "application/pkix-crl"  # RFC 2585 section 4.2
REQUEST_TYPE = "application/ocsp-request"
RESPONSE_TYPE = "application/ocsp-response"

_AUTHORITY = re.compile(r"([0-9a-f]{1,128})(\.crl)?", re.ASCII)
_ALWAYS = {"x-content-type-options": "nosniff"}


class OcspResponder(Protocol):
    """See sds.server.revocation.ocsp."""

    async def answer(self, request: OcspRequest) -> OcspAnswer: ...


def revocation_routes(crl: Callable[[str], Awaitable[bytes | None]], responder: OcspResponder) -> list[BaseRoute]:
    """``GET /crl/AUTHORITY`` (also with ``.crl``), ``POST /ocsp`` and ``GET /ocsp/BASE64``. `crl` gives an authority's
    list, DER, or None. The routes' names are what requests are counted by.
    """

    async def get_crl(request: Request) -> Response:
        named = _AUTHORITY.fullmatch(request.path_params["authority"])
        der = None if named is None else await crl(named[1])
        if der is None:
            return PlainTextResponse("there is no such list here", 404, headers=_ALWAYS)
        return cached(request, der, CRL_TYPE)

    async def post_ocsp(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != REQUEST_TYPE:
            return PlainTextResponse(f"the body must be declared as {REQUEST_TYPE}", 415, headers=_ALWAYS)
        return await _answer(responder, parse_request, await request.body(), keep=False)

    async def get_ocsp(request: Request) -> Response:
        return await _answer(responder, parse_get, request.path_params["request"], keep=True)

    return [
        Route(f"{CRL_PATH}/{{authority}}", get_crl, methods=["GET"], name="crl"),
        Route(OCSP_PATH, post_ocsp, methods=["POST"], name="ocsp"),
        Route(f"{OCSP_PATH}/{{request:path}}", get_ocsp, methods=["GET"], name="ocsp"),
    ]


async def _answer(
    responder: OcspResponder, parse: Callable[[T], OcspRequest], unverified: T, *, keep: bool
) -> Response:
    """With 200, also where it is a refusal (RFC 6960 appendix A.2)."""
    try:
        request = parse(unverified)
    except OcspRefused:
        return _response(Refusal.MALFORMED_REQUEST.der, {"cache-control": "no-store"})
    answer = await responder.answer(request)
    if answer.until is None or request.nonce is not None or not keep:
        return _response(answer.der, {"cache-control": "no-store"})
    return _response(answer.der, _kept(answer.der, answer.since, answer.until))


def _kept(der: bytes, since: datetime, until: datetime) -> dict[str, str]:
    """Caches may hand it on until it holds no more (RFC 5019 section 6.2)."""
    return {
        "cache-control": f"max-age={int((until - since).total_seconds())}, public, no-transform, must-revalidate",
        "last-modified": _http_date(since),
        "expires": _http_date(until),
        "etag": f'"{hashlib.sha256(der).hexdigest()[:32]}"',
    }


def _http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def _response(der: bytes, headers: dict[str, str]) -> Response:
    return Response(der, media_type=RESPONSE_TYPE, headers={**headers, **_ALWAYS})

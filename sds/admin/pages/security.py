"""What every page says to the browser, and from where a form may come."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from sds.admin.errors import BodyTooLarge, Forbidden, MalformedBody, UnsupportedMediaType

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Content Security Policy Level 3: nothing inline, nothing evaluated, nothing from elsewhere, in nobody's frame."""

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": POLICY,
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }
)
MAX_FORM = 256 * 1024
MAX_FIELDS = 500
_FORM = "application/x-www-form-urlencoded"


class Form:
    """A form's fields. Of one that was sent twice the first counts; `all` has each."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields

    def get(self, name: str) -> str:
        """Without white space around it; "" if it is not there."""
        return next((value.strip() for key, value in self._fields if key == name), "")

    def raw(self, name: str) -> str:
        """As it was sent, with lines that end in one character."""
        return next((value.replace("\r\n", "\n") for key, value in self._fields if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value.strip() for key, value in self._fields if key == name and value.strip()]

    def lines(self, name: str) -> list[str]:
        """What stands in a text area, a line each, without empty ones."""
        return [line.strip() for line in self.raw(name).splitlines() if line.strip()]


async def read_form(request: Request, csrf: str) -> Form:
    """The form of a POST that comes from a page of ours.

    1. It says that it comes from this origin, by Sec-Fetch-Site or by Origin; what no browser sent says neither.
    2. It is a form, and of bounded size.
    3. Where the caller has a session, it has the session's CSRF secret.

    Raises Forbidden, UnsupportedMediaType, BodyTooLarge, MalformedBody.
    """
    check_origin(request)  # 1
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != _FORM:  # 2
        raise UnsupportedMediaType("a page's form was expected")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            raise BodyTooLarge(f"the form is larger than {MAX_FORM} bytes")
    form = Form(_fields(bytes(body)))
    if csrf and not hmac.compare_digest(form.get("csrf").encode(), csrf.encode()):  # 3
        raise Forbidden("the form is not from this session; open the page anew and send it again")
    return form


def check_origin(request: Request) -> None:
    """Raises Forbidden for a request that a browser made for another site (Fetch Metadata; RFC 6454 section 7)."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        raise Forbidden("the form was sent from another site")
    origins = request.headers.getlist("origin")
    if not origins:
        return
    host = request.headers.get("host", "")
    parts = urlsplit(origins[0])
    if len(origins) > 1 or not host or parts.netloc.lower() != host.lower():
        raise Forbidden("the form was sent from another site")


def _fields(body: bytes) -> list[tuple[str, str]]:
    try:
        text = body.decode("ascii")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise MalformedBody("the form cannot be read") from None

"""``GET /v1/secrets/NAME`` for workloads without an agent: a JWT-SVID proves who asks, the grants say what it gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId
from ca.bundle import TrustBundle
from ca.errors import InvalidJwtSvid
from ca.jwt_verify import JwtSvid, validate
from sds.audit.event import Actor, ActorKind
from sds.clock import Clock
from sds.http.etag import known
from sds.net.limits import Caps
from sds.secrets.document import NoSuchField, document, etag, one_field
from sds.secrets.secret import SecretValue
from sds.server.coalescer import Overloaded
from sds.server.secrets.catalog import SecretCatalog
from sds.server.secrets.desk import SecretDesk, Subscription
from sds.server.secrets.news import Told
from sds.store.errors import StoreError

MAX_WAIT = 60
"""Seconds that one request may wait for a change."""
PATIENCE = 8.0
"""Seconds that a request without `wait` waits for the source."""
MAX_TOKEN = 8192
MAX_NAME = 128
_BEARER = "bearer "
_PRIVATE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """`audience`: of the tokens. `waiting`: how many requests there may be at once, and of one identity."""

    audience: str
    leeway: timedelta
    waiting: Caps


class _Refused(Exception):
    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers


class SecretsEndpoint:
    """`entries`: those of an identity that are live and not blocked."""

    def __init__(
        self,
        desk: SecretDesk,
        catalog: SecretCatalog,
        bundle: Callable[[], TrustBundle],
        entries: Callable[[SpiffeId], Iterable[RegistrationEntry]],
        rules: EndpointRules,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._desk = desk
        self._catalog = catalog
        self._bundle = bundle
        self._entries = entries
        self._rules = rules
        self._clock = clock
        self._new_id = new_id

    def routes(self) -> list[BaseRoute]:
        return [Route("/v1/secrets/{name:path}", self._get, methods=["GET"], name="secret")]

    async def _get(self, request: Request) -> Response:
        """1. A token of this trust domain for us. 2. Not too many at once. 3. What the identity is granted."""
        try:
            name, wait = request.path_params["name"][: MAX_NAME + 1], _wait(request)
            svid = self._identify(request)  # 1
            with self._place(svid.spiffe_id):  # 2
                return await self._answer(request, svid, name, wait)  # 3
        except _Refused as refusal:
            return _problem(refusal.status, str(refusal), refusal.headers)
        except (StoreError, Overloaded):
            return _problem(503, "secrets cannot be given out now, try again later", {"retry-after": "2"})

    @contextmanager
    def _place(self, spiffe_id: SpiffeId) -> Iterator[None]:
        if self._rules.waiting.acquire(spiffe_id) is not None:
            raise _Refused(429, "too many requests are waiting, try again later", **{"retry-after": "2"})
        try:
            yield
        finally:
            self._rules.waiting.release(spiffe_id)

    def _identify(self, request: Request) -> JwtSvid:
        """RFC 6750 section 2.1: in the Authorization header, and nowhere else. Why one is refused is not told."""
        given = request.headers.getlist("authorization")
        if len(given) != 1 or not given[0].lower().startswith(_BEARER) or len(given[0]) > MAX_TOKEN:
            raise _Refused(401, "send one JWT-SVID: Authorization: Bearer TOKEN", **{"www-authenticate": "Bearer"})
        bundle = self._bundle()
        try:
            return validate(
                given[0][len(_BEARER) :].strip(),
                {bundle.trust_domain: bundle},
                self._rules.audience,
                self._clock.now(),
                self._rules.leeway,
            )
        except InvalidJwtSvid:
            challenge = 'Bearer error="invalid_token"'
            raise _Refused(401, "the JWT-SVID is refused", **{"www-authenticate": challenge}) from None

    async def _answer(self, request: Request, svid: JwtSvid, name: str, wait: float) -> Response:
        entry = self._entry(svid.spiffe_id, name)
        if entry is None or len(name) > MAX_NAME:
            raise _Refused(404, "unknown or not granted")
        client = request.client.host if request.client is not None else ""
        actor = Actor(ActorKind.WORKLOAD, str(svid.spiffe_id), client)
        held = request.query_params.get("version", "")[:MAX_NAME]
        wait = min(wait, max(0.0, (svid.expires_at - self._clock.now()).total_seconds()))
        async with self._desk.subscribe(entry, name, held, actor=actor, request_id=self._new_id()) as subscription:
            return await self._news(request, subscription, name, wait)

    async def _news(self, request: Request, subscription: Subscription, name: str, wait: float) -> Response:
        field = request.query_params.get("field")
        has = request.headers.getlist("if-none-match")
        end = self._clock.monotonic() + max(wait, PATIENCE)
        known_since = self._clock.monotonic() + wait
        same = False
        while True:
            until = known_since if same else end
            news = await subscription.next(max(0.0, until - self._clock.monotonic()))
            if isinstance(news, SecretValue):
                tag = etag(news, field)
                if not known(has, tag):
                    return _serve(news, name, field, tag)
                same = True
            elif news is Told.NOT_GRANTED:
                raise _Refused(404, "unknown or not granted")
            elif news is Told.UNCHANGED:
                same = True
            elif same and (news is None or self._clock.monotonic() >= known_since):
                return Response(status_code=304, headers=_PRIVATE)
            elif news is None or self._clock.monotonic() >= known_since:
                raise _Refused(503, "it cannot be had now, try again later", **{"retry-after": "2"})

    def _entry(self, spiffe_id: SpiffeId, name: str) -> RegistrationEntry | None:
        """Of the identity's entries one that is granted the secret, else any: then the refusal is audited."""
        entries = sorted(self._entries(spiffe_id), key=lambda entry: (entry.created_at, entry.id))
        granted = (entry for entry in entries if self._catalog.may(entry.spec, name) is not None)
        return next(granted, entries[0] if entries else None)


class EntriesById:
    """The live entries of an identity, found anew when anything has changed."""

    def __init__(self, all_entries: Callable[[], Iterable[RegistrationEntry]], revision: Callable[[], int]) -> None:
        self._all = all_entries
        self._revision = revision
        self._known = -1
        self._index: dict[SpiffeId, list[RegistrationEntry]] = {}

    def of(self, spiffe_id: SpiffeId) -> Iterable[RegistrationEntry]:
        if self._revision() != self._known:
            self._known = self._revision()
            self._index = {}
            for entry in self._all():
                self._index.setdefault(entry.spiffe_id, []).append(entry)
        return self._index.get(spiffe_id, ())


def _serve(value: SecretValue, name: str, field: str | None, tag: str) -> Response:
    headers = {**_PRIVATE, "etag": tag, "sds-secret-version": value.version}
    if field is None:
        return Response(document(name, value), media_type="application/json", headers=headers)
    try:
        return Response(one_field(value, field), media_type="application/octet-stream", headers=headers)
    except NoSuchField:
        raise _Refused(404, "the secret has no field of this name") from None


def _problem(status: int, detail: str, headers: dict[str, str]) -> Response:
    body = {"type": "about:blank", "status": status, "detail": detail}
    return JSONResponse(body, status, {**_PRIVATE, **headers}, media_type="application/problem+json")


def _wait(request: Request) -> float:
    text = request.query_params.get("wait", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= MAX_WAIT):
        raise _Refused(422, f"wait is how many seconds to wait for a change, 0 to {MAX_WAIT}")
    return float(text)

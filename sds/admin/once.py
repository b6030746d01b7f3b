"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a POST that is sent again is not done again.

1. The key is the caller's own: another caller's is another key.
2. The same key with another request is refused, whatever became of the first one.
3. Two at once: one is done, the other is told to wait.
4. What was refused or failed is forgotten, and may be tried again; what was done is answered as it was.
5. Answers that hold a secret are never kept: a repetition is told that it was done, and that is all.
6. What only reads is read again.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sds.admin.conditional import check_taken
from sds.admin.errors import AnswerNotKept, BadPrecondition
from sds.admin.services import AdminCall
from sds.admin.services.idempotency import GivenAnswer, IdempotencyAdmin
from sds.logs import get_logger

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
SECRET_ANSWERS = frozenset({"token.create", "token.issue", "access.token.create", "access.token.bootstrap"})
"""Operations whose answer is the only time that a secret is shown."""
READING = frozenset({"certificate.find", "explain", "grant.check", "token.verify"})
"""Operations that only read, whoever may: done twice they do nothing twice, and their answers must fill no database."""
MAX_KEPT = 1024 * 1024
"""Bytes of an answer that is kept."""
_KEY = re.compile(r"[!-~]{1,255}", re.ASCII)
_KEPT_HEADERS = ("content-type", "etag", "location")

log = get_logger(__name__)


class Once:
    """Steps in between the decision that a caller may do something and doing it. A condition that the operation would
    not look at is refused here, too.
    """

    def __init__(self, keys: IdempotencyAdmin) -> None:
        self._keys = keys

    async def __call__(
        self, request: Request, call: AdminCall, operation: str, handler: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Raises KeyReused, StillInProgress, OutcomeUnknown, AnswerNotKept, BadPrecondition."""
        check_taken(request, operation)  # before anything is claimed for what will not be done
        given = request.headers.getlist(HEADER)
        if request.method != "POST" or not given or not call.caller.id or not _has_keys(request, operation):
            return await handler()
        if len(given) != 1 or not _KEY.fullmatch(given[0]):
            raise BadPrecondition(f"{HEADER} is 1 to 255 visible ASCII characters")
        key = given[0]
        known = await self._keys.claim(call, key, await _digest(request, operation))
        if known is not None:
            return _again(known)
        try:
            answer = await handler()
        except Exception:
            await self._release(call, key)
            raise
        if answer.status_code >= 400:
            await self._release(call, key)
        else:
            await self._keep(call, key, answer, secret=operation in SECRET_ANSWERS)
        return answer

    async def _keep(self, call: AdminCall, key: str, answer: Response, *, secret: bool) -> None:
        headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        body = None if secret or isinstance(answer, StreamingResponse) else bytes(answer.body)
        if body is not None and len(body) > MAX_KEPT:
            body = None
        try:
            await self._keys.keep(call, key, GivenAnswer(answer.status_code, headers, body))
        except Exception as error:  # noqa: BLE001  # it is done: the caller must learn of that
            log.warning("an answer could not be kept for its key", error=type(error).__qualname__)

    async def _release(self, call: AdminCall, key: str) -> None:
        try:
            await self._keys.release(call, key)
        except Exception as error:  # noqa: BLE001  # must not hide why it was refused
            log.warning("a key could not be released", error=type(error).__qualname__)


def _has_keys(request: Request, operation: str) -> bool:
    """Pages have none: a browser sends no such header, and what it is shown may hold anything."""
    return operation not in READING and request.url.path.startswith("/v1/")


async def _digest(request: Request, operation: str) -> str:
    found = sha256()
    for part in (operation, request.url.path, request.url.query, request.headers.get("content-type", "")):
        found.update(len(part).to_bytes(8, "big") + part.encode())
    found.update(await request.body())
    return found.hexdigest()


def _again(known: GivenAnswer) -> Response:
    if known.body is None:
        raise AnswerNotKept
    return Response(known.body, known.status, headers={**known.headers, REPLAYED: "true"})

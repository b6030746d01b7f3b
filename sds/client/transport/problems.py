"""A problem document (RFC 9457) as the error that it is."""

from __future__ import annotations

import json
from typing import Any, Protocol

from sds.client.errors import ClientError, FieldProblem, NoSuchCall, NotTheApi, refusal_class

_URN = "urn:sds:problem:"
_MOST_PROBLEMS = 10_000


class _Answer(Protocol):
    @property
    def status(self) -> int: ...

    @property
    def content(self) -> bytes: ...

    @property
    def where(self) -> str: ...


def refusal(answer: _Answer, path: str) -> ClientError:
    """NotTheApi for what is no problem document."""
    try:
        document = json.loads(answer.content)
    except (ValueError, RecursionError):
        return NotTheApi(answer.where)
    if not isinstance(document, dict) or not isinstance(document.get("detail"), str):
        return NotTheApi(answer.where)
    kind = document.get("type")
    kind = kind.removeprefix(_URN) if isinstance(kind, str) else ""
    made = refusal_class(answer.status, kind)
    if answer.status == 404 and document["detail"] == "Not Found":  # an agent's own words for an unknown path
        made = NoSuchCall
    return made(
        answer.status,
        kind,
        document["detail"],
        problems=_problems(document),
        document=document,
        path=path,
        where=answer.where,
    )


def _problems(document: dict[str, Any]) -> tuple[FieldProblem, ...]:
    found = document.get("problems")
    return tuple(
        FieldProblem(str(each.get("field")), str(each.get("problem")))
        for each in (found[:_MOST_PROBLEMS] if isinstance(found, list) else [])
        if isinstance(each, dict)
    )

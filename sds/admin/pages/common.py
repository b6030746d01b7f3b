"""What several pages share: filters, labels in one line, and answers to an action."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.responses import Response

from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.pages.api import Refused
from sds.admin.pages.visit import Visit
from sds.admin.problems import HANDLED as API_HANDLED
from sds.admin.problems import problem_for
from sds.store.errors import NotFound

HANDLED: tuple[type[Exception], ...] = (Refused, *API_HANDLED)
"""What can be wrong with what a form says; anything else is a page of its own."""
PAGE = 50
"""Rows of a list, unless the URL says otherwise."""


def split_labels(text: str) -> list[str]:
    """``team=pay, env=prod`` as one text each; separators are commas and white space."""
    return [part for part in text.replace(",", " ").split() if part]


def read_labels(text: str) -> dict[str, str]:
    """Raises InvalidInput for what is not key=value."""
    found: dict[str, str] = {}
    for part in split_labels(text):
        key, equals, value = part.partition("=")
        if not key or not equals:
            raise InvalidInput([FieldProblem("labels", "each must be key=value")])
        found[key] = value
    return found


def write_labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items())


def list_query(visit: Visit, *names: str) -> list[tuple[str, str]]:
    """What a list's page passes on to the API; the page's one field `label` may hold several."""
    pairs = visit.args(*names, "label", "cursor", "limit")
    limit = [] if any(name == "limit" for name, _ in pairs) else [("limit", str(PAGE))]
    found: list[tuple[str, str]] = []
    for name, value in pairs:
        found += [("label", each) for each in split_labels(value)] if name == "label" else [(name, value)]
    return found + limit


def kept(visit: Visit, *names: str) -> list[tuple[str, str]]:
    """The same, as the page's own links say it: everything but the place in the list."""
    return visit.args(*names, "label", "limit")


def after(visit: Visit, approval: str, url: str, done: str) -> Response:
    """Where an action leads: to what it acted on, or to the approval that it waits for."""
    return visit.go(f"/access?done=approval#approval-{approval}" if approval else f"{url}?done={done}")


def problem_of(error: Exception, request_id: str) -> Mapping[str, Any] | None:
    """The problem to show beside a form that can be mended; None: it cannot, and is a page of its own."""
    document = error.problem if isinstance(error, Refused) else problem_for(error).document(request_id)
    return document if document["status"] in {400, 409, 412, 422} else None


def fields(form_values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A body's values, without those that say nothing."""
    return {name: value for name, value in form_values if value not in ("", None)}


def nothing_here() -> NotFound:
    return NotFound("page", "there is nothing at this path")

"""The table of errors: every class of the packages below has its row, or is unmapped on purpose."""

from __future__ import annotations

import inspect
import json
from types import ModuleType

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

import attestation.errors
import ca.errors
import sds.admin.errors
import sds.secrets.errors
import sds.store.errors
from attestation.errors import InvalidEntry
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.problems import HANDLED, INTERNAL, problem_for
from sds.store.errors import Conflict, NotFound, Reason, StoreUnavailable

MODULES = [attestation.errors, ca.errors, sds.admin.errors, sds.secrets.errors, sds.store.errors]
# Of these the admin API can say nothing useful: bugs, start-up errors, or errors of other callers.
UNMAPPED = {
    "AttestationError", "InvalidSan", "InvalidSubject", "CaError", "StoreError", "AdminError",
    "ConstraintViolated", "UnauditedChange", "FeedTruncated", "InvalidDatabaseUrl", "SchemaOutdated", "SchemaTooNew",
    "TokenRefused", "InvalidBundle", "AlreadyIssued", "CertificateMismatch", "InvalidKeyRing", "InvalidSvid",
    "InvalidCrl", "InvalidJwk", "InvalidPath", "OcspRefused", "SecretError",
}  # fmt: skip


def classes(module: ModuleType) -> list[type[Exception]]:
    return [
        each
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, Exception) and each.__module__ == module.__name__
    ]


@pytest.mark.parametrize("module", MODULES)
def test_every_error_is_mapped_or_left_out_on_purpose(module: ModuleType) -> None:
    for kind in classes(module):
        assert issubclass(kind, HANDLED) != (kind.__name__ in UNMAPPED), kind


def test_rows_are_reachable() -> None:
    """A row behind one for its base class would never be used."""
    for number, kind in enumerate(HANDLED):
        assert not any(issubclass(kind, earlier) for earlier in HANDLED[:number]), kind


def test_unmapped_says_nothing() -> None:
    assert problem_for(RuntimeError("CANARY")) is INTERNAL
    assert "CANARY" not in json.dumps(INTERNAL.document("r"))


def test_documents() -> None:
    assert problem_for(NotFound("entry", "e1")).document("r") == {
        "type": "urn:sds:problem:not-found",
        "title": "Not Found",
        "status": 404,
        "detail": "no such entry: e1",
        "request_id": "r",
    }
    assert problem_for(Conflict("entry e1", 4)).document("r")["current_revision"] == 4
    invalid = problem_for(InvalidInput([FieldProblem("a[0]", "is bad"), FieldProblem("b", "is worse")]))
    assert invalid.document("r")["problems"] == [
        {"field": "a[0]", "problem": "is bad"},
        {"field": "b", "problem": "is worse"},
    ]
    assert invalid.summary() == "the request has 2 problems (a[0]: is bad; b: is worse)"
    assert problem_for(InvalidEntry("hint", "is odd")).problems == (FieldProblem("hint", "is odd"),)


def test_headers() -> None:
    unavailable = problem_for(StoreUnavailable(Reason.LOCKED)).response("r")
    assert (unavailable.status_code, unavailable.headers["retry-after"]) == (503, "1")
    refused = problem_for(HTTPException(405, "CANARY", headers={"Allow": "GET", "X-Other": "CANARY"})).response("r")
    assert refused.headers["allow"] == "GET"
    assert "x-other" not in refused.headers
    assert b"CANARY" not in bytes(refused.body)


def test_a_validation_error_keeps_its_input_to_itself() -> None:
    error = RequestValidationError(
        [{"type": "int_parsing", "loc": ("query", "limit"), "msg": "bad", "input": "CANARY", "ctx": {"e": "CANARY"}}],
        body="CANARY",
    )
    problem = problem_for(error)
    assert problem.problems == (FieldProblem("limit", "bad"),)
    assert "CANARY" not in json.dumps(problem.document("r"))

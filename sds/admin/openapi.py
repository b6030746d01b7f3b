"""The OpenAPI document: what FastAPI knows of the routes, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from sds.admin.conditional import CONDITIONAL
from sds.admin.once import HEADER, REPLAYED, SECRET_ANSWERS

_SCHEMAS = "#/components/schemas/{model}"
_PROBLEM = "application/problem+json"
_TEXT = {"type": "string"}
_MADE_OR_STANDS = frozenset({"entry.create", "secret.create", "grant.create", "federation.create"})
_FOUR_EYES = frozenset({"authority.revoke", "revocation.create", "audit.prune"})
_FILES: dict[str, dict[str, Any]] = {
    "bundle.show": {"application/json": {"schema": {"type": "object"}}, "application/x-pem-file": {"schema": _TEXT}},
}
_FILES["federation.bundle.show"] = _FILES["bundle.show"]
_LINKS = {
    # Made by one operation, and named by the path of others: the path's parameter, and where the answer has it.
    "entry.create": (("entry.show", "entry.update", "entry.delete"), "entry_id", "id"),
    "grant.create": (("grant.show", "grant.delete"), "grant_id", "id"),
    "secret.create": (("secret.show", "secret.update", "secret.delete", "secret.put"), "name", "name"),
    "federation.create": (
        ("federation.show", "federation.update", "federation.delete"),
        "trust_domain",
        "trust_domain",
    ),
}
_INFO = (
    "What administrators and their tools do: entries, agents, certificates, authorities, secrets, the audit log. Every "
    "call is decided by the caller's roles and audited. Errors are problem documents (RFC 9457) whose `type` is stable."
)
_REFUSED = {
    "400": "What was sent cannot be read: the body, or a header that sets a condition.",
    "401": "Nobody was recognised.",
    "403": "The caller may not do this.",
    "404": "There is nothing of this name, or the caller may not know of it.",
    "409": "What stands forbids it, or the same request is being done.",
    "412": "It has changed since: If-Match names another version.",
    "413": "The body is too large.",
    "415": "The body is not of a kind that is taken here.",
    "422": "Values break rules; `problems` names each field, and never repeats a value.",
    "429": "Too many requests; Retry-After says when to ask again.",
    "500": "A fault of the server's; its log has it under the request ID.",
    "503": "The database, an authority or a source is away; nothing was done.",
}
_EVERYWHERE = ("400", "401", "403", "404", "422", "429", "500", "503")
_WITH_BODY = ("409", "413", "415")
_BEFORE_READING = {
    "431": {"description": "The request's line and headers are too long. They were not read, so no problem says more."}
}
_PROBLEM_SCHEMA = {
    "type": "object",
    "description": "RFC 9457. `type` is urn:sds:problem: and a code that programs may match. Some have members more.",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "pattern": "^urn:sds:problem:[a-z0-9-]+$"},
        "title": _TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": _TEXT,
        "request_id": _TEXT,
        "problems": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "problem"],
                "properties": {"field": _TEXT, "problem": _TEXT},
            },
        },
    },
}
_SECURITY = {
    "token": {"type": "http", "scheme": "bearer", "description": "An API token, or a token of the OIDC provider."},
    "svid": {"type": "mutualTLS", "description": "An X.509-SVID of this trust domain that a role is bound to."},
    "session": {"type": "apiKey", "in": "cookie", "name": "__Host-sds-session", "description": "A login in a browser."},
    "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token", "description": "The session's, for writes."},
}


def complete(document: dict[str, Any], bodies: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """Adds, in place, the models of bodies that FastAPI does not read, conditions, problems and security."""
    _, schemas = models_json_schema([(model, "validation") for model in bodies], ref_template=_SCHEMAS)
    components = document.setdefault("components", {})
    known = components.setdefault("schemas", {})
    known.update(schemas["$defs"])
    known["Problem"] = _PROBLEM_SCHEMA
    for unused in ("HTTPValidationError", "ValidationError"):
        known.pop(unused, None)
    components["securitySchemes"] = _SECURITY
    document["info"]["description"] = _INFO
    document["servers"] = [{"url": "/", "description": "the Unix socket, or the HTTPS listener"}]
    # None at all: on the Unix socket the kernel says who asks.
    document["security"] = [{}, {"token": []}, {"svid": []}, {"session": [], "csrf": []}]
    for method, operation in _operations(document):
        _complete(method, operation)
    names = sorted({operation["tags"][0] for _, operation in _operations(document)})
    document["tags"] = [{"name": name} for name in names]
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for methods in document["paths"].values():
        yield from methods.items()


def _complete(method: str, operation: dict[str, Any]) -> None:
    name = operation["operationId"]
    operation["tags"] = [name.split(".")[0]]
    operation["summary"] = operation.get("description", operation["summary"]).split(". ")[0].split("\n")[0].rstrip(".")
    answers = operation["responses"]
    if name in _FILES:
        answers["200"] = {"description": "As `format` says.", "content": _FILES[name]}
    if name in _MADE_OR_STANDS:
        answers["200"] = {**answers["201"], "description": "It stood already, just so."}
    if name.endswith(".export"):
        answers["200"]["content"].pop("application/json", None)
    if name in _FOUR_EYES:
        answers["202"] = {"description": "It waits for somebody else's approval.", "content": {"application/json": {}}}
    if method == "get":
        answers["304"] = {"description": "If-None-Match names what stands."}
    codes = [*_EVERYWHERE, *(_WITH_BODY if method != "get" else ())]
    if name in CONDITIONAL:
        codes.append("412")
    for code in codes:
        content = {_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        answers[code] = {"description": _REFUSED[code], "content": content}
    operation["responses"] = dict(sorted((answers | _BEFORE_READING).items()))
    _headers(method, operation)


def _headers(method: str, operation: dict[str, Any]) -> None:
    given = operation.setdefault("parameters", [])
    told = {"X-Request-Id": "The call in logs and in the audit log."}
    if method == "get":
        given.append(_header("If-None-Match", "Entity tags that the client has already: then 304."))
        told["ETag"] = "The version of what is told."
    if operation["operationId"] in CONDITIONAL:
        given.append(_header("If-Match", "Only if this is its version, as the ETag of a GET told it."))
    if method == "post":
        why = "A retry with the same key is answered as the first request was, for a day."
        if operation["operationId"] in SECRET_ANSWERS:
            why = "A retry with the same key is not done again; the secret is not told again."
        given.append(_header(HEADER, why, minLength=1, maxLength=255, pattern="^[!-~]+$"))
        told[REPLAYED] = "Present where this is the answer to the first request with the key."
    for code, answer in operation["responses"].items():
        if code in {"200", "201"}:
            _link(answer, operation["operationId"])
        if code.startswith("2"):
            answer["headers"] = {name: {"description": text, "schema": _TEXT} for name, text in told.items()}


def _link(answer: dict[str, Any], operation_id: str) -> None:
    """What can be done next with what was made (OpenAPI 3.1 section 4.8.20)."""
    if operation_id in _LINKS:
        others, parameter, field = _LINKS[operation_id]
        named = {parameter: f"$response.body#/{field}"}
        answer["links"] = {other: {"operationId": other, "parameters": named} for other in others}


def _header(name: str, description: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {**_TEXT, **more}}

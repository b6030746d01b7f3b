"""The OpenAPI document is true: schemathesis asks everything it describes, over the Unix socket, and checks each answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from sds.admin.app import create_api
from tests.contract.store.samples import AGENT, spec
from tests.fakes.admin_server import Running, admin_server
from tests.fakes.admin_services import FakeServices
from tests.fakes.clock import FakeClock
from tests.unit.admin.test_bulk import CALL, attest
from tests.unit.admin.test_certificate_routes import info

load_all_checks()
API = create_api(FakeServices(FakeClock().now).services).app
DOCUMENT: dict[str, Any] = API.openapi()  # type: ignore[attr-defined]
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {
    operation["operationId"]: (path, method)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
LONG = int(200 * float(os.environ.get("SDS_LONG_SHARE", "1"))) + 1
# A schema cannot say all that rules ask for (that an ID is of this trust domain, that a TTL is within a profile's bounds):
# a body that fits it may still be refused with 422, or with 400 and 412 by what its headers demand.
NAMES = [each for each in CHECKS.get_all() if each.__name__ != "positive_data_acceptance"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all, in which there is one of what lists show, and more by and by."""
    with admin_server(tmp_path_factory.mktemp("openapi") / "admin.sock") as server:
        server.reset()
        attest(server, AGENT)
        server.do(lambda: server.fakes.entries.create(CALL, spec("/web")))
        server.fakes.certificates.rows = [info(1)]
        yield server


@pytest.fixture(scope="module")
def client(served: Running) -> Iterator[httpx.Client]:
    transport = httpx.HTTPTransport(uds=str(served.socket))
    with httpx.Client(transport=transport, base_url="http://sds", timeout=60) as client:
        yield client


def ask(client: httpx.Client, operation: str, mode: GenerationMode, examples: int) -> None:
    path, method = OPERATIONS[operation]

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(SCHEMA[path][method].as_strategy(generation_mode=mode))
    def run(case: schemathesis.Case) -> None:
        if case.query and "wait" in case.query:
            del case.query["wait"]  # a long poll is answered when there is something
        request = requests.Request(**case.as_transport_kwargs(base_url="http://sds")).prepare()
        body = request.body.encode() if isinstance(request.body, str) else request.body
        answer = client.request(request.method, request.url, headers=dict(request.headers), content=body)
        case.validate_response(answer, checks=NAMES)

    run()


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_each_answer_is_as_described(client: httpx.Client, operation: str) -> None:
    ask(client, operation, GenerationMode.POSITIVE, 3)
    if has_input(operation):
        ask(client, operation, GenerationMode.NEGATIVE, 3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_many_answers_are_as_described(client: httpx.Client, operation: str) -> None:
    ask(client, operation, GenerationMode.POSITIVE, LONG)
    if has_input(operation):
        ask(client, operation, GenerationMode.NEGATIVE, LONG)


def has_input(operation: str) -> bool:
    path, method = OPERATIONS[operation]
    described = DOCUMENT["paths"][path][method]
    return "requestBody" in described or any(each["in"] == "query" for each in described["parameters"])


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_each_operation_is_described_in_full(operation: str) -> None:
    path, method = OPERATIONS[operation]
    described = DOCUMENT["paths"][path][method]
    assert described["summary"]
    assert described["description"]
    assert described["tags"] == [operation.split(".", maxsplit=1)[0]]
    done = [code for code in described["responses"] if code.startswith("2")]
    assert done
    for code, answer in described["responses"].items():
        if code == "431":  # the listener's own, before the request is one
            assert "content" not in answer
        elif code >= "400":
            assert set(answer["content"]) == {"application/problem+json"}
        elif code in {"200", "201"}:
            assert answer["content"], code
            for kind, content in answer["content"].items():
                assert content["schema"], kind
    assert {"400", "401", "403", "404", "422", "429", "431", "503"} <= set(described["responses"])
    names = {each["name"] for each in described["parameters"] if each["in"] == "header"}
    assert ("Idempotency-Key" in names) is (method == "post")
    assert ("If-None-Match" in names) is (method == "get")
    assert ("412" in described["responses"]) is ("If-Match" in names)


def test_security_and_version() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    assert {next(iter(each), "") for each in DOCUMENT["security"]} == {"", "token", "svid", "session"}
    assert set(DOCUMENT["components"]["securitySchemes"]) == {"token", "svid", "session", "csrf"}


# No input is echoed


CANARY = "canary7f3a"
ROUTES = [route for route in API.routes if isinstance(route, APIRoute)]
TEXTS = st.sampled_from(
    [
        CANARY,
        f"{CANARY}\x00",
        f'"{CANARY}',
        f"spiffe://{CANARY}",
        f"{CANARY}=",
        f"=cmd|'{CANARY}'",
        f"\u202e{CANARY}",
        CANARY * 50,
    ]
)
KEYS = TEXTS.filter(lambda text: text != CANARY)  # the name of a key that is not known is told if it is a plain one
VALUES = st.recursive(TEXTS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2))


def fields_of(operation: str) -> list[str]:
    """The names of the body's fields at its top."""
    path, method = OPERATIONS[operation]
    content = DOCUMENT["paths"][path][method].get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return []
    return list(DOCUMENT["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[1]]["properties"])


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_no_refusal_repeats_what_was_sent(client: httpx.Client, operation: str) -> None:
    """Canaries in every field, query value, header and part of the path."""
    path, method = OPERATIONS[operation]
    described = DOCUMENT["paths"][path][method]
    queries = [each["name"] for each in described["parameters"] if each["in"] == "query"]
    fields = fields_of(operation)

    @settings(max_examples=5, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def run(data: st.DataObject) -> None:
        text = data.draw(TEXTS)
        url = "".join(
            part if at % 2 == 0 else httpx.URL("http://x", params={"a": text}).query.decode()[2:].replace("+", "%20")
            for at, part in enumerate(path.replace("{", "}").split("}"))
        )
        params = {name: data.draw(TEXTS) for name in queries if data.draw(st.booleans())}
        body = {name: data.draw(VALUES) for name in fields if data.draw(st.booleans())} if fields else None
        headers = {
            name: text.encode("utf-8").replace(b"\x00", b"")
            for name in ("If-Match", "Idempotency-Key", "X-Request-Id")
            if data.draw(st.booleans())
        }
        answer = client.request(method, url, params=params, json=body, headers=headers)
        if answer.status_code >= 400:
            said = {key: value for key, value in answer.json().items() if key != "request_id"}
            told = [value for name, value in answer.headers.items() if name != "x-request-id"]
            # A name of the right form that names nothing is said again: nothing about it is hostile.
            well_formed = answer.status_code == 404 and text in {CANARY, f"spiffe://{CANARY}"}
            assert well_formed or CANARY not in str([said, told])

    run()

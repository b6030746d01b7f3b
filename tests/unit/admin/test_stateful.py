"""What one operation makes, the next ones find, change and end: schemathesis follows the links of the OpenAPI document."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis.checks import load_all_checks

from tests.contract.store.samples import AGENT, spiffe
from tests.fakes.admin_server import Running, admin_server
from tests.unit.admin.test_openapi import DOCUMENT, NAMES

load_all_checks()
RUNS = max(20, int(20 * float(os.environ.get("SDS_LONG_SHARE", "1"))))
CHOSEN = ["entry.create", "entry.show", "entry.update", "entry.delete"]
assert {"use_after_free", "ensure_resource_availability"} <= {each.__name__ for each in NAMES}
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT).include(operation_id=CHOSEN)


def spec_of(number: int) -> dict[str, Any]:
    """What the schema cannot say: that IDs are of this trust domain."""
    return {"spiffe_id": str(spiffe(f"/w{number % 5}")), "parent_id": str(AGENT), "selectors": ["unix:uid:1"]}


def machine(served: Running, client: httpx.Client, seen: Counter[tuple[str, int]]) -> Any:
    class Machine(SCHEMA.as_state_machine()):  # type: ignore[misc]  # made at run time
        """Each run begins with nothing."""

        def setup(self) -> None:
            served.reset()

        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return {}

        def call(self, case: schemathesis.Case, **_kwargs: Any) -> Any:
            operation = case.operation.definition.raw["operationId"]
            if operation in {"entry.create", "entry.update"}:
                case.body = spec_of(sum(seen.values()))
            for header in ("If-Match", "Idempotency-Key"):
                case.headers.pop(header, None)
            case.query.pop("dry_run", None)
            request = requests.Request(**case.as_transport_kwargs(base_url="http://sds")).prepare()
            body = request.body.encode() if isinstance(request.body, str) else request.body
            answer = client.request(request.method, request.url, headers=dict(request.headers), content=body)
            seen[operation, answer.status_code] += 1
            return schemathesis.Response.from_httpx(answer, verify=False)

        def validate_response(self, response: Any, case: schemathesis.Case, **_kwargs: Any) -> None:
            case.validate_response(response, checks=NAMES)

    return Machine


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_made_is_found_changed_and_ended(tmp_path: Path) -> None:
    seen = Counter[tuple[str, int]]()
    with admin_server(tmp_path / "admin.sock") as served:
        transport = httpx.HTTPTransport(uds=str(served.socket))
        with httpx.Client(transport=transport, base_url="http://sds", timeout=60) as client:
            run_state_machine_as_test(
                machine(served, client, seen),
                settings=settings(
                    max_examples=RUNS, stateful_step_count=8, deadline=None, database=None, derandomize=True,
                    suppress_health_check=list(HealthCheck),
                ),
            )  # fmt: skip
    assert seen["entry.create", 201]
    for operation in CHOSEN[1:]:
        assert seen[operation, 200], seen
    assert seen["entry.show", 404], "what is gone was asked for, too"

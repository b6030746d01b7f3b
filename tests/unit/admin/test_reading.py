"""What the event of a read says and doesn't, and what it is on pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sds.admin import noting
from sds.admin.access.roles import Right, Role
from sds.admin.app import create_api
from sds.admin.reading import OF_PAGES, PLACES, Asked
from sds.store.errors import Reason, StoreUnavailable
from tests.fakes.admin_services import FakeServices
from tests.fakes.clock import FakeClock
from tests.unit.admin.test_rules import everything
from tests.unit.admin.watched import ENTRY, ROUTES, World, made

ADMIN, AUDITOR, VIEWER = Right(Role.ADMIN), Right(Role.AUDITOR), Right(Role.VIEWER)
PEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgCANARY\n-----END PRIVATE KEY-----"


@pytest.fixture
def world() -> World:
    return made(lambda fakes, clock: create_api(fakes.services, clock=clock), ADMIN)


@pytest.mark.parametrize(
    "query",
    [
        {"access_token": "CANARY"},
        {"CANARY": ""},
        {"owner": PEM},
        {"owner": "sds_at_" + "0" * 80 + "CANARY"},
        {"owner": "eyJhbGciOiJub25lIn0.CANARY.CANARY"},
        {"owner": "x" * 600 + "CANARY"},
    ],
)
async def test_no_secret_of_a_query_is_noted(world: World, query: dict[str, str]) -> None:
    await world.http.get("/v1/entries", params=query)
    await world.http.get("/entries", params=query)
    assert [operation for operation, _, _ in world.reads] == ["entry.list", "page.show"]
    assert "CANARY" not in repr(world.fakes.audit.reads)


async def test_nothing_of_a_body_is_noted(world: World) -> None:
    await world.http.post("/v1/certificates:find", json={"pem": "-----BEGIN CERTIFICATE-----CANARY"})
    await world.http.post("/v1/jwt:verify", json={"token": "CANARY", "audience": "a"})
    await world.http.post("/v1/explain", json={"selectors": ["unix:user:CANARY"]})
    assert ("certificate.find", "", "") in world.reads
    assert "CANARY" not in repr(world.fakes.audit.reads) + repr(world.fakes.audit.rows)


async def test_what_is_noted_is_short_and_plain(world: World) -> None:
    many = [("label", f"k{number}=é\u202e" + "v" * 400) for number in range(40)]
    await world.http.get("/v1/entries", params=many)
    await world.http.get("/v1/entries/%C3%A9%22%F0%9F%98%80" + "x" * 5000)
    for _, reading in world.fakes.audit.reads:
        text = reading.asked + reading.target
        assert text.isascii()
        assert text.isprintable()
        assert 0 < len(text) <= 2048
    assert len(world.reads) == 2


class TestPages:
    async def test_a_visit_is_one_event(self, world: World) -> None:
        for path in ("/", "/audit", "/workloads"):
            assert (await world.http.get(path, params={"action": "entry."})).status_code == 200
        assert world.reads == [("page.show", path, "action=entry.") for path in ("/", "/audit", "/workloads")]

    async def test_refreshed_it_is_the_same_visit(self, world: World) -> None:
        for done in ("", "saved"):
            await world.http.get("/audit", params={"done": done, "before": "7"}, headers={"HX-Request": "true"})
        assert world.reads == [("page.show", "/audit", "")]

    async def test_what_is_sensitive_on_a_page_is_not_read_unnoted(self, world: World) -> None:
        assert (await world.http.post("/v1/entries", json=ENTRY)).status_code == 201
        world.fakes.audit.fail = StoreUnavailable(Reason.LOST)
        answer = await world.http.get("/audit")
        assert "entry.create" not in answer.text.split("<tbody", 1)[-1].split("</tbody", 1)[0]
        assert (await world.http.get("/entries")).status_code == 200, "all else is there to be seen"
        assert "e00000001" in (await world.http.get("/entries")).text

    async def test_beyond_the_bound_the_sensitive_parts_are_noted_themselves(self, world: World) -> None:
        for number in range(noting.DIFFERENT + 5):
            await world.http.get("/audit", params={"target": f"t{number}"})
        assert [operation for operation, _, _ in world.reads[-4:]] == ["audit.tail"] * 4

    async def test_an_act_is_told_by_what_it_does(self, world: World) -> None:
        form = {"pem": "nothing"}
        await world.http.post("/certificates", data=form, headers={"X-Request-Id": "searched0"})
        assert "certificate.find" in world.events("searched0")
        await world.http.post("/entries/new", data={}, headers={"X-Request-Id": "emptied-0"})
        assert world.events("emptied-0")

    def test_every_field_that_pages_ask_by_is_noted(self, world: World) -> None:
        known = Asked(ROUTES).names("page.show") | PLACES | {"done", "failed", "next", "why"}
        pages = Path(noting.__file__).with_name("pages")
        used = set[str]()
        for file in (*pages.glob("*.py"), *pages.glob("templates/*.html")):
            used |= set(re.findall(r"\barg\(\"([a-z_]+)\"\)", file.read_text()))
            passed_on = r"^(?:FILTERS|_NAMES|_ORDER|_BLOCKS|_GRANTS|_SECRETS|_STREAMS|_AGENTS) = \(([^)]*)\)"
            for names in re.findall(passed_on, file.read_text(), re.MULTILINE) if file.name != "assets.py" else ():
                used |= set(re.findall(r'"([a-z_]+)"', names))
        assert len(used) > 30
        assert used <= known
        assert used >= OF_PAGES


def test_the_query_parameters_of_the_description_are_those_that_are_noted() -> None:
    api = everything(FakeServices(FakeClock().now)).app
    asked = Asked(ROUTES)
    for path in api.openapi()["paths"].values():
        for operation in path.values():
            named = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
            assert asked.names(operation["operationId"]) == named - PLACES

"""/v1/certificates over HTTP: query values, exports, pasted text."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from types import MappingProxyType

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sds.admin.services.certificates import CertificateInfo, CertificateState
from sds.admin.wire.certificates import COLUMNS
from tests.contract.store.samples import certificate, later, spiffe
from tests.fakes.admin_server import AUTHORITY, Running

CANARY = "canary7f3a"


def info(number: int, **changes: object) -> CertificateInfo:
    record = certificate(f"{0x1000 + number:04x}", requested_at=later(number), issued_at=later(number))
    base = CertificateInfo(record, CertificateState.ACTIVE, "ann", MappingProxyType({"team": "a"}))
    return replace(base, **changes)


async def test_a_listing_and_its_filters(http: httpx.AsyncClient, running: Running) -> None:
    running.fakes.certificates.rows = [info(1), info(2, owner="bob"), info(3)]
    page = (await http.get("/v1/certificates", params={"limit": 2})).json()
    assert [each["serial"] for each in page["certificates"]] == ["1003", "1002"]
    first = page["certificates"][0]
    assert first.keys() == {*COLUMNS, "process"} - {"pid", "uid", "path"}
    assert (first["owner"], first["labels"], first["state"]) == ("ann", {"team": "a"}, "active")
    assert (first["requested_at"], first["revoked_at"]) == ("2026-01-01T00:00:03Z", None)
    rest = (await http.get("/v1/certificates", params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert [each["serial"] for each in rest["certificates"]] == ["1001"]
    for query in (
        {"owner": "bob"},
        {"serial": "10:02"},
        {"issued_after": "2026-01-01T00:00:02Z", "issued_before": "2026-01-01T01:00:03+01:00", "sort": "issued"},
    ):
        found = (await http.get("/v1/certificates", params=query)).json()
        assert [each["serial"] for each in found["certificates"]] == ["1002"], query


@pytest.mark.parametrize(
    "query",
    [
        {"serial": CANARY},
        {"spiffe_id": CANARY},
        {"below": CANARY},
        {"key_hash": CANARY},
        {"authority_id": CANARY},
        {"agent_id": CANARY},
        {"label": CANARY},
        {"state": CANARY},
        {"sort": CANARY},
        {"limit": CANARY},
        {"cursor": CANARY},
        {"expires_after": CANARY},
        {"issued_before": "2026-01-01T00:00:00"},
        {CANARY: "1"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/certificates", "/v1/certificates:export"])
async def test_query_values_that_are_none_are_not_repeated(
    http: httpx.AsyncClient, path: str, query: dict[str, str]
) -> None:
    answer = await http.get(path, params=query)
    assert answer.status_code == 422
    text = answer.text.replace(f'"field":"{CANARY}"', "")  # a key's name is said, if it is a plain one
    assert CANARY not in text


async def test_one_certificate(http: httpx.AsyncClient, running: Running) -> None:
    running.fakes.certificates.rows = [info(1)]
    one = (await http.get("/v1/certificates/10:01")).json()
    assert (one["serial"], one["chain_pem"], one["holders"], one["holders_total"]) == ("1001", "", [], 0)
    for path in ("1002", CANARY, "0", "-1"):
        missing = await http.get(f"/v1/certificates/{path}")
        assert (missing.status_code, CANARY in missing.text) == (404, False)


async def test_export_as_csv_has_no_formula(http: httpx.AsyncClient, running: Running) -> None:
    running.fakes.certificates.rows = [info(1, owner='=HYPERLINK("http://evil")', labels=MappingProxyType({"@x": "1"}))]
    answer = await http.get("/v1/certificates:export", params={"format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="certificates.csv"'
    head, row = csv.reader(io.StringIO(answer.text, newline=""))
    assert tuple(head) == COLUMNS
    found = dict(zip(head, row, strict=True))
    assert (found["owner"], found["labels"]) == ('\'=HYPERLINK("http://evil")', "'@x=1")
    assert (found["spiffe_id"], found["revoked_at"]) == (str(spiffe("/web")), "")


async def test_export_goes_on_over_all_pages(http: httpx.AsyncClient, running: Running) -> None:
    running.fakes.certificates.rows = [info(number) for number in range(4500)]
    answer = await http.get("/v1/certificates:export", params={"sort": "issued", "owner": "ann"})
    assert answer.headers["content-type"] == "application/jsonl"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [each["serial"] for each in lines] == [f"{0x1000 + number:04x}" for number in range(4500)]
    assert tuple(lines[0]) == COLUMNS
    assert (lines[0]["labels"], lines[0]["dns_names"]) == ({"team": "a"}, ["web.example.org"])
    assert (await http.get("/v1/certificates:export", params={"owner": "nobody"})).text == ""


async def test_an_export_that_fails_half_way_is_seen_to_be_incomplete(
    http: httpx.AsyncClient, running: Running
) -> None:
    fakes = running.fakes.certificates
    fakes.rows = [info(number) for number in range(2500)]
    fakes.fail_after = 1
    with pytest.raises(httpx.RemoteProtocolError):
        await http.get("/v1/certificates:export")
    fakes.fail_after = 0
    refused = await http.get("/v1/certificates:export")
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:sds:problem:store-unavailable")


async def test_pasted_text(http: httpx.AsyncClient, running: Running) -> None:
    pem = x509.load_der_x509_certificate(AUTHORITY).public_bytes(Encoding.PEM).decode()
    answer = (await http.post("/v1/certificates:find", json={"pem": f"text before\n{pem}"})).json()
    assert (answer["certificates"], answer["next_cursor"]) == ([], None)
    assert [(each["number"], each["serial"]) for each in answer["unknown"]] == [(1, "01")]
    for text in (CANARY, f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----", CANARY * 100_000, 7):
        refused = await http.post("/v1/certificates:find", json={"pem": text})
        assert refused.status_code in {413, 422}
        assert CANARY not in refused.text

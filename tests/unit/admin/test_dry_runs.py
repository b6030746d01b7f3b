"""What would go with a grant, a relationship or an authority; and who decided on what has changed meanwhile."""

from __future__ import annotations

import httpx

from ca.authority import AuthorityKind
from sds.admin.services.revocations import BlastRadius
from tests.contract.store.samples import AGENT, spec, spiffe
from tests.fakes.admin_server import Running
from tests.unit.admin.test_bulk import stand

RADIUS = BlastRadius(certificates=3, fresh=2)
STALE = {"If-Match": '"stale"'}


async def granted(http: httpx.AsyncClient, **to: object) -> str:
    await http.post("/v1/secrets", json={"name": "tls/web", "kind": "generic", "source": {"backend": "embedded"}})
    made = await http.post("/v1/grants", json={"secret": "tls/web", **to})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def test_who_loses_a_secret_with_a_grant(http: httpx.AsyncClient, running: Running) -> None:
    both = await stand(running, spec("/a/both"))
    one = await stand(running, spec("/a/one"))
    wide = await granted(http, spiffe_id_prefix=str(spiffe("/a")))
    await granted(http, spiffe_id=str(spiffe("/a/both")))
    said = (await http.delete(f"/v1/grants/{wide}?dry_run=true")).json()
    assert (said["dry_run"], said["entries_total"], [each["id"] for each in said["entries"]]) == (True, 1, [one])
    assert both not in str(said)
    shown = await http.get(f"/v1/grants/{wide}")
    assert shown.json()["id"] == wide
    assert (await http.delete(f"/v1/grants/{wide}", headers=STALE)).status_code == 412
    gone = (await http.delete(f"/v1/grants/{wide}", headers={"If-Match": shown.headers["etag"]})).json()
    assert (gone["dry_run"], gone["entries_total"]) == (False, None)
    assert (await http.get(f"/v1/grants/{wide}")).status_code == 404
    newest = (await http.get("/v1/grants?sort=-created")).json()["grants"]
    assert len(newest) == 1
    assert len((await http.get("/v1/grants:export")).text.splitlines()) == 1


async def test_ending_a_federation(http: httpx.AsyncClient) -> None:
    source = {"profile": "https_web", "endpoint_url": "https://other.example/bundle"}
    await http.post("/v1/federations", json={"trust_domain": "other.example", **source})
    path = "/v1/federations/other.example"
    tag = (await http.get(path)).headers["etag"]
    assert (await http.delete(f"{path}?dry_run=true", headers={"If-Match": tag})).json()["dry_run"] is True
    elsewhere = {**source, "endpoint_url": "https://other.example/bundle2"}
    assert (await http.put(path, json=elsewhere, headers=STALE)).status_code == 412
    assert (await http.put(path, json=elsewhere, headers={"If-Match": tag})).status_code == 200
    assert (await http.delete(path, headers={"If-Match": tag})).status_code == 412
    assert (await http.delete(path)).json()["dry_run"] is False
    assert (await http.get(path)).status_code == 404


async def test_taking_an_authority_away(http: httpx.AsyncClient, running: Running) -> None:
    running.fakes.revocations.radius = RADIUS
    authority = running.fakes.authorities.active(AuthorityKind.X509).id
    path = f"/v1/authorities/{authority}"
    tag = (await http.get(path)).headers["etag"]
    for verb in ("taint", "revoke"):
        said = (await http.post(f"{path}:{verb}?dry_run=true")).json()
        assert (said["dry_run"], said["blast_radius"]["certificates_total"]) == (True, 3)
        assert (said["tainted"], said["revoked"]) == (False, False)
        assert (await http.post(f"{path}:{verb}", headers=STALE)).status_code == 412
    assert (await http.post(f"{path}:taint", headers={"If-Match": tag})).json()["tainted"] is True
    assert (await http.post(f"{path}:activate", headers={"If-Match": tag})).status_code == 412


async def test_lifting_a_block_that_was_lifted_meanwhile(http: httpx.AsyncClient) -> None:
    order = {"kind": "agent", "value": str(AGENT), "dry_run": False}
    block = (await http.post("/v1/revocations", json=order)).json()["block"]["id"]
    tag = (await http.get(f"/v1/blocks/{block}")).headers["etag"]
    assert (await http.post(f"/v1/blocks/{block}:lift", headers={"If-Match": tag})).status_code == 200
    assert (await http.post(f"/v1/blocks/{block}:lift", headers={"If-Match": tag})).status_code == 412
    assert (await http.get("/v1/revocations?sort=revoked&reason=unspecified")).json()["revocations"] == []
    assert (await http.get("/v1/revocations:export?format=csv")).text.startswith('"serial",')


async def test_lists_of_secrets_and_blocks_are_sorted_and_filtered(http: httpx.AsyncClient) -> None:
    for name in ("a", "b"):
        await http.post("/v1/secrets", json={"name": name, "kind": "generic", "source": {"backend": "embedded"}})
    named = (await http.get("/v1/secrets?sort=-name")).json()["secrets"]
    assert [each["name"] for each in named] == ["b", "a"]
    for value in ("/sds/agent/a", "/sds/agent/b"):
        await http.post("/v1/revocations", json={"kind": "agent", "value": str(spiffe(value)), "dry_run": False})
    oldest = (await http.get("/v1/blocks?sort=created&standing=true")).json()["blocks"]
    assert [each["value"] for each in oldest] == [str(spiffe("/sds/agent/a")), str(spiffe("/sds/agent/b"))]
    assert (await http.get("/v1/blocks?standing=false")).json()["blocks"] == []


async def test_a_value_is_written_to_the_definition_that_was_seen(http: httpx.AsyncClient) -> None:
    await http.post("/v1/secrets", json={"name": "a", "kind": "generic", "source": {"backend": "embedded"}})
    value = {"fields": {"": "dmFsdWU="}}
    assert (await http.put("/v1/secrets/a:value", json=value, headers={"If-Match": '"7"'})).status_code == 412
    assert (
        await http.post("/v1/secrets/a:rollback", json={"version": None}, headers={"If-Match": '"7"'})
    ).status_code == 412

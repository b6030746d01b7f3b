"""ML-DSA authorities with real peers: Envoy, grpcio between our own processes, and an OpenSSL that may not know them.

Where one of these tests fails because a peer has changed its mind, docs/key-types.md has to say so.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from ca.bundle import to_pem
from ca.keys import POST_QUANTUM, KeyType
from sds.demo.envoy import Envoy, find_envoy, own_binary, write_config
from sds.demo.ports import LOOPBACK, free_ports
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World, traffic
from tests.e2e.harness.world import world as new_world
from tests.fakes.ca import make_authority, make_svid

pytestmark = pytest.mark.e2e

EXTENSION = "type.googleapis.com/envoy.extensions"
WEB = "spiffe://example.org/web"


@pytest.fixture(params=sorted(POST_QUANTUM))
async def quantum_world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    settings = {"SDS_SERVER_CA__KEY_TYPE": request.param, "SDS_SERVER_CA__POST_QUANTUM": "true"}
    async with new_world(server_env=settings) as made:
        await made.start()
        yield made


async def test_a_fleet_below_such_an_authority(quantum_world: World) -> None:
    """Agent and server speak through grpcio, Envoys get the root over SDS, and all verify each other."""
    world = quantum_world
    await world.entry("front")
    entry = await world.entry("back")
    pair = await world.pair()
    before = await pair.back.admin.serials()
    async with traffic(pair.url) as tally:
        await world.rotate(entry, 1)

        async def replaced() -> bool:
            return not await pair.back.admin.serials() & before

        await eventually(replaced)
        requests = tally.requests
        await eventually(lambda: more_than(tally, requests + 20))
    assert tally.failed == 0, list(tally.failures)
    for envoy in (pair.front, pair.back):
        assert sum((await envoy.admin.stats("sds[.].*[.]update_rejected")).values()) == 0


async def more_than(tally: Any, requests: int) -> bool:
    return bool(tally.requests > requests)


# Envoys with files


def files(folder: Path, key_type: KeyType, *, altered: bool = False) -> Mapping[str, str]:
    """A root, and a leaf below it with its key; with `altered`, a bit of the root's signature on the leaf is another."""
    now = datetime.now(UTC)
    authority = make_authority(key_type=key_type, now=now)
    holder = make_svid(WEB, authority, now=now)
    (leaf,) = holder.svid.chain
    if altered:
        leaf = leaf[:-1000] + bytes([leaf[-1000] ^ 1]) + leaf[-999:]
    found = {"root": to_pem(authority.authority.certificate), "chain": to_pem(leaf), "key": holder.key_pem.reveal()}
    for name, content in found.items():
        (folder / f"{name}.pem").write_bytes(content)
    return {name: str(folder / f"{name}.pem") for name in found}


def bootstrap(folder: Path, port: int, back_port: int, named: Mapping[str, str]) -> dict[str, Any]:
    """One Envoy that calls itself over mTLS: plain HTTP at `port`."""
    tls = {
        "tls_certificates": [
            {"certificate_chain": {"filename": named["chain"]}, "private_key": {"filename": named["key"]}}
        ],
        "validation_context": {
            "trusted_ca": {"filename": named["root"]},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": WEB}}],
        },
    }
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "hello"}}}
    forward = {"match": {"prefix": "/"}, "route": {"cluster": "back"}}
    server_tls = _socket("Downstream", {"require_client_certificate": True, "common_tls_context": tls})
    return {
        "admin": {"address": {"pipe": {"path": str(folder / "admin.sock")}}},
        "static_resources": {
            "listeners": [_listener("front", port, forward), _listener("back", back_port, answer, server_tls)],
            "clusters": [
                {
                    "name": "back",
                    "load_assignment": {
                        "cluster_name": "back",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(back_port)}}]}],
                    },
                    "transport_socket": _socket("Upstream", {"common_tls_context": tls}),
                }
            ],
        },
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": LOOPBACK, "port_value": port}}


def _socket(side: str, context: dict[str, Any]) -> dict[str, Any]:
    kind = f"{EXTENSION}.transport_sockets.tls.v3.{side}TlsContext"
    return {"name": "tls", "typed_config": {"@type": kind, **context}}


def _listener(name: str, port: int, route: dict[str, Any], tls: dict[str, Any] | None = None) -> dict[str, Any]:
    manager = {
        "@type": f"{EXTENSION}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{EXTENSION}.filters.http.router.v3.Router"}}],
    }
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    if tls is not None:
        chain["transport_socket"] = tls
    return {"name": name, "address": _address(port), "filter_chains": [chain]}


@asynccontextmanager
async def calling_itself(folder: Path, named: Mapping[str, str]) -> AsyncIterator[tuple[Envoy, str]]:
    port, back_port = free_ports(2)
    binary = own_binary(find_envoy(), folder / "bin" / "envoy")
    envoy = await Envoy.start(binary, bootstrap(folder, port, back_port, named), folder, "self")
    try:
        await envoy.ready()
        yield envoy, f"http://{LOOPBACK}:{port}/"
    finally:
        await envoy.stop()


@pytest.mark.parametrize("key_type", sorted(POST_QUANTUM))
def test_envoy_takes_such_a_root_from_a_file(short_folder: Path, key_type: KeyType) -> None:
    file = short_folder / "envoy.json"
    write_config(bootstrap(short_folder, 1, 2, files(short_folder, key_type)), file)
    ran = subprocess.run(
        [find_envoy(), "--mode", "validate", "--config-path", file, "--log-level", "warning"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("OK\n")


@pytest.mark.parametrize("key_type", [KeyType.ML_DSA_44, KeyType.ML_DSA_87, KeyType.ED25519, KeyType.RSA_3072])
async def test_envoy_verifies_below_it(short_folder: Path, key_type: KeyType) -> None:
    async with (
        calling_itself(short_folder, files(short_folder, key_type)) as (envoy, url),
        httpx.AsyncClient() as client,
    ):
        assert (await client.get(url)).status_code == 200
        assert await envoy.admin.stat("cluster.back.ssl.handshake") == 1


async def test_envoy_refuses_a_signature_that_is_another(short_folder: Path) -> None:
    """It does verify: what the test before saw was no oversight."""
    named = files(short_folder, KeyType.ML_DSA_65, altered=True)
    async with calling_itself(short_folder, named) as (envoy, url), httpx.AsyncClient() as client:
        assert (await client.get(url)).status_code == 503
        assert await envoy.admin.stat("cluster.back.ssl.fail_verify_error") == 1


def test_openssl_verifies_below_it_only_since_3_5(short_folder: Path) -> None:
    """As do the many programs that use it."""
    said = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout
    match = re.match(r"OpenSSL (\d+)\.(\d+)", said)
    assert match is not None
    knows = (int(match[1]), int(match[2])) >= (3, 5)
    for key_type, good in ((KeyType.ECDSA_P256, True), (KeyType.ML_DSA_65, knows)):
        named = files(short_folder, key_type)
        ran = subprocess.run(
            ["openssl", "verify", "-CAfile", named["root"], named["chain"]],
            capture_output=True,
            check=False,
            timeout=30,
        )
        assert (ran.returncode == 0) is good

"""Envoys that use named secrets: credentials they inject, an OAuth 2 client, a gateway with certificates for names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from sds.demo.envoy_config import (
    Config,
    SdsSource,
    _bootstrap,
    _endpoint,
    _header,
    _http,
    _listener,
    _sds,
)
from sds.demo.ports import LOOPBACK

_TYPE = "type.googleapis.com/envoy.extensions"
ECHO = "x-injected"
"""The response header that shows what the backend was sent as `authorization`."""


def injector(node_id: str, admin: str, port: int, back_port: int, source: SdsSource, secret: str) -> Config:
    """Adds the secret to each request as `authorization`; the backend, in the same Envoy, shows what came."""
    filters = {
        "name": "envoy.filters.http.credential_injector",
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.credential_injector.v3.CredentialInjector",
            "overwrite": True,
            "credential": {
                "name": "envoy.http.injected_credentials.generic",
                "typed_config": {
                    "@type": f"{_TYPE}.http.injected_credentials.generic.v3.Generic",
                    "credential": _sds(source, secret),
                },
            },
        },
    }
    return _before_echo(node_id, admin, port, back_port, source, filters)


def oauth2(
    node_id: str,
    admin: str,
    port: int,
    back_port: int,
    source: SdsSource,
    provider: int,
    *,
    token_secret: str,
    hmac_secret: str,
) -> Config:
    """Logs users in at the provider on that port and sends their token on as `authorization`."""
    filters = {
        "name": "envoy.filters.http.oauth2",
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.oauth2.v3.OAuth2",
            "config": {
                "token_endpoint": {
                    "cluster": "provider",
                    "uri": f"http://{LOOPBACK}:{provider}/token",
                    "timeout": "3s",
                },
                "authorization_endpoint": f"http://{LOOPBACK}:{provider}/authorize",
                "redirect_uri": "http://%REQ(:authority)%/callback",
                "redirect_path_matcher": {"path": {"exact": "/callback"}},
                "signout_path": {"path": {"exact": "/signout"}},
                "forward_bearer_token": True,
                "auth_scopes": ["openid"],
                "credentials": {
                    "client_id": "web",
                    "token_secret": _sds(source, token_secret),
                    "hmac_secret": _sds(source, hmac_secret),
                },
            },
        },
    }
    more = [_plain_cluster("provider", provider)]
    return _before_echo(node_id, admin, port, back_port, source, filters, more)


def gateway(
    node_id: str, admin: str, port: int, source: SdsSource, names: Mapping[str, str], *, tickets: bool = False
) -> Config:
    """Ends TLS for each server name with the certificate of that secret's name; `tickets`: resumes by shared keys."""
    answer = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": f"{node_id}\n"}},
    }
    listener = _listener("gateway", port, _http([answer]))
    (plain,) = listener.pop("filter_chains")
    listener["listener_filters"] = [
        {
            "name": "envoy.filters.listener.tls_inspector",
            "typed_config": {"@type": f"{_TYPE}.filters.listener.tls_inspector.v3.TlsInspector"},
        }
    ]
    listener["filter_chains"] = [
        plain
        | {
            "filter_chain_match": {"server_names": [server_name]},
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": f"{_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
                    "common_tls_context": {"tls_certificate_sds_secret_configs": [_sds(source, secret)]},
                    **({"session_ticket_keys_sds_secret_config": _sds(source, "tickets")} if tickets else {}),
                },
            },
        }
        for server_name, secret in names.items()
    ]
    return _bootstrap(node_id, admin, source, listeners=[listener], clusters=[])


def _before_echo(
    node_id: str,
    admin: str,
    port: int,
    back_port: int,
    source: SdsSource,
    filters: Config,
    more: Sequence[Config] = (),
) -> Config:
    echo = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "ok\n"}},
        "response_headers_to_add": [_header(ECHO, "%REQ(authorization)%")],
    }
    manager = _http([{"match": {"prefix": "/"}, "route": {"cluster": "echo", "timeout": "5s"}}])
    manager["typed_config"]["http_filters"].insert(0, filters)
    return _bootstrap(
        node_id,
        admin,
        source,
        listeners=[_listener("front", port, manager), _listener("echo", back_port, _http([echo]))],
        clusters=[_plain_cluster("echo", back_port), *more],
    )


def _plain_cluster(name: str, port: int) -> Config:
    address = {"socket_address": {"address": LOOPBACK, "port_value": port}}
    return {"name": name, "connect_timeout": "2s", "load_assignment": _endpoint(name, address)}


@dataclass
class Provider:
    """An OAuth 2 provider's token endpoint."""

    secrets: list[str] = field(default_factory=list)
    """The client secrets that it was shown, in order."""

    def answer(self, body: bytes) -> bytes:
        self.secrets += parse_qs(body.decode()).get("client_secret", [])
        token: dict[str, Any] = {
            "access_token": f"token-{len(self.secrets)}",
            "token_type": "bearer",
            "expires_in": 3600,
        }
        return json.dumps(token).encode()


@asynccontextmanager
async def provider(port: int) -> AsyncIterator[Provider]:
    """While the block runs."""
    made = Provider()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
        body = made.answer(await reader.readexactly(length))
        headers = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
        writer.write(f"{headers}content-length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, LOOPBACK, port):
        yield made

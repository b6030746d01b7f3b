"""Envoy bootstrap configurations, as JSON-able values, for the two sides of one mTLS connection.

The front side takes plain HTTP on loopback and sends it on over mTLS; the back side ends the mTLS and answers itself.
Both get their certificate and the trust bundle by SDS over the agent's Unix socket; both check the peer's SPIFFE ID.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from sds.demo.envoy_credential import credential_injector

Config = dict[str, Any]

_EXTENSION = "type.googleapis.com/envoy.extensions"
_LOOPBACK = "127.0.0.1"
_AGENT = "sds_agent"
_ANOTHER_TIMEOUT = 0.3  # seconds
SERVER_CERTIFICATE_HEADER = "x-server-certificate"
"""The front side adds the certificate that the back side presented: PEM, URL-encoded."""
CLIENT_SERIAL_HEADER = "x-client-serial"
"""The back side adds the serial of the certificate that the front side presented: hex."""
CLIENT_ID_HEADER = "x-client-id"
"""The back side adds the URI SANs of the certificate that the front side presented."""
FRONT_CREDENTIAL_HEADER, BACK_CREDENTIAL_HEADER = "x-front-credential", "x-back-credential"
"""Each side adds its named secret to requests under one of these; answers show both as the application got them."""


class SdsProtocol(StrEnum):
    """The four ways in which Envoy can ask for secrets over gRPC."""

    SOTW = "sotw"
    DELTA = "delta"
    ADS = "ads"
    ADS_DELTA = "ads-delta"

    @property
    def api_type(self) -> str:
        return "DELTA_GRPC" if self in {SdsProtocol.DELTA, SdsProtocol.ADS_DELTA} else "GRPC"

    @property
    def aggregated(self) -> bool:
        return self in {SdsProtocol.ADS, SdsProtocol.ADS_DELTA}


@dataclass(frozen=True, slots=True)
class SdsSource:
    """Where an Envoy gets its secrets, and under which names it asks for them."""

    socket: str
    protocol: SdsProtocol = SdsProtocol.SOTW
    certificate: str = "default"
    bundle: str = "ROOTCA"
    initial_fetch_timeout: float = 15.0  # seconds; Envoy's own default


@dataclass(frozen=True, slots=True)
class Front:
    """The client side. `others` maps a path prefix to the certificate name that its requests are sent with instead."""

    node_id: str
    admin_socket: str
    port: int
    upstream_port: int
    server_ids: Sequence[str]
    source: SdsSource
    others: dict[str, str] = field(default_factory=dict)
    max_connection_duration: float = 0.5  # seconds
    credential: str = ""  # the named secret that it adds to requests; "": none


@dataclass(frozen=True, slots=True)
class Back:
    """The server side. `others` maps a further port to the certificate name that is presented there."""

    node_id: str
    admin_socket: str
    port: int
    client_ids: Sequence[str]
    source: SdsSource
    others: dict[int, str] = field(default_factory=dict)
    max_connection_duration: float = 60.0  # seconds
    credential: str = ""  # the named secret that it adds to requests, and shows all of them; "": none


def front(side: Front) -> Config:
    """The bootstrap of the client side."""
    tls = {
        "@type": f"{_EXTENSION}.transport_sockets.tls.v3.UpstreamTlsContext",
        "max_session_keys": 0,  # no resumption: every connection shows both certificates
    }
    clusters = {"/": "back"} | {prefix: f"as{prefix.replace('/', '_')}" for prefix in side.others}
    sources = {"back": side.source} | {clusters[p]: _another(side.source, name) for p, name in side.others.items()}
    filters = _credential(side.source, side.credential, FRONT_CREDENTIAL_HEADER)
    return _bootstrap(
        side.node_id,
        side.admin_socket,
        side.source,
        listeners=[_listener("front", side.port, _http(_routes(clusters), filters=filters))],
        clusters=[
            _upstream(name, side, tls | {"common_tls_context": _tls(source, side.server_ids)})
            for name, source in sources.items()
        ],
    )


def back(side: Back) -> Config:
    """The bootstrap of the server side."""
    answer: Config = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": f"{side.node_id}\n"}},
        "response_headers_to_add": [
            _header(CLIENT_SERIAL_HEADER, "%DOWNSTREAM_PEER_SERIAL%"),
            _header(CLIENT_ID_HEADER, "%DOWNSTREAM_PEER_URI_SAN%"),
        ],
    }
    if side.credential:
        shown = (FRONT_CREDENTIAL_HEADER, BACK_CREDENTIAL_HEADER)
        answer["response_headers_to_add"] += [_header(name, f"%REQ({name})%") for name in shown]
    filters = _credential(side.source, side.credential, BACK_CREDENTIAL_HEADER)
    sources = {side.port: side.source} | {port: _another(side.source, name) for port, name in side.others.items()}
    return _bootstrap(
        side.node_id,
        side.admin_socket,
        side.source,
        listeners=[
            _listener(
                "back" if port == side.port else f"back_{port}",
                port,
                _http([answer], {"max_connection_duration": f"{side.max_connection_duration}s"}, filters),
                {
                    "@type": f"{_EXTENSION}.transport_sockets.tls.v3.DownstreamTlsContext",
                    "require_client_certificate": True,
                    "common_tls_context": _tls(source, side.client_ids),
                },
            )
            for port, source in sources.items()
        ],
        clusters=[],
    )


def _bootstrap(
    node_id: str, admin: str, source: SdsSource, *, listeners: list[Config], clusters: list[Config]
) -> Config:
    agent: Config = {
        "name": _AGENT,
        "connect_timeout": "1s",
        "load_assignment": _endpoint(_AGENT, {"pipe": {"path": source.socket}}),
        "typed_extension_protocol_options": _protocol({"explicit_http_config": {"http2_protocol_options": {}}}),
    }
    config: Config = {
        "node": {"id": node_id, "cluster": "demo"},
        "admin": {"address": {"pipe": {"path": admin, "mode": 0o600}}},
        "static_resources": {"listeners": listeners, "clusters": [agent, *clusters]},
    }
    if source.protocol.aggregated:
        config["dynamic_resources"] = {"ads_config": _grpc(source)}
    return config


def _grpc(source: SdsSource) -> Config:
    return {
        "api_type": source.protocol.api_type,
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": _AGENT}}],
    }


def _sds(source: SdsSource, name: str) -> Config:
    where: Config = {"ads": {}} if source.protocol.aggregated else {"api_config_source": _grpc(source)}
    timeout = f"{source.initial_fetch_timeout}s"
    return {"name": name, "sds_config": {"resource_api_version": "V3", "initial_fetch_timeout": timeout} | where}


def _another(source: SdsSource, certificate: str) -> SdsSource:
    """For a certificate that may never come: Envoy holds back everything for as long as it waits for a first secret."""
    return replace(source, certificate=certificate, initial_fetch_timeout=_ANOTHER_TIMEOUT)


def _tls(source: SdsSource, peers: Sequence[str]) -> Config:
    """Certificate and bundle by SDS; the peer's SPIFFE ID must be one of `peers`."""
    matchers = [{"san_type": "URI", "matcher": {"exact": peer}} for peer in peers]
    return {
        "tls_certificate_sds_secret_configs": [_sds(source, source.certificate)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": matchers},
            "validation_context_sds_secret_config": _sds(source, source.bundle),
        },
    }


def _routes(clusters: dict[str, str]) -> list[Config]:
    """One route a path prefix, the longest first."""
    return [
        {
            "match": {"prefix": prefix},
            "route": {"cluster": cluster, "timeout": "5s"},
            "response_headers_to_add": [_header(SERVER_CERTIFICATE_HEADER, "%UPSTREAM_PEER_CERT%")],
        }
        for prefix, cluster in sorted(clusters.items(), key=lambda item: -len(item[0]))
    ]


def _header(name: str, value: str) -> Config:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _credential(source: SdsSource, secret: str, header: str) -> list[Config]:
    """The filter that adds the secret to requests; none without one."""
    return [credential_injector(header, _sds(source, secret))] if secret else []


def _http(routes: list[Config], options: Config | None = None, filters: Sequence[Config] = ()) -> Config:
    """An HTTP connection manager that speaks HTTP/1.1 and HTTP/2."""
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_EXTENSION}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "http",
            "codec_type": "AUTO",
            "common_http_protocol_options": options or {},
            "route_config": {
                "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}],
                "validate_clusters": False,  # with ADS they come after the listeners
            },
            "http_filters": [
                *filters,
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{_EXTENSION}.filters.http.router.v3.Router"},
                },
            ],
        },
    }


def _listener(name: str, port: int, manager: Config, tls: Config | None = None) -> Config:
    chain: Config = {"filters": [manager]}
    if tls is not None:
        chain["transport_socket"] = _tls_socket(tls)
    return {
        "name": name,
        "stat_prefix": name,
        "address": {"socket_address": {"address": _LOOPBACK, "port_value": port}},
        "enable_reuse_port": False,  # a port that someone has must be an error, not shared
        "filter_chains": [chain],
    }


def _upstream(name: str, side: Front, tls: Config) -> Config:
    options: Config = {
        "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
        "common_http_protocol_options": {"max_connection_duration": f"{side.max_connection_duration}s"},
    }
    address = {"socket_address": {"address": _LOOPBACK, "port_value": side.upstream_port}}
    return {
        "name": name,
        "connect_timeout": "2s",
        "load_assignment": _endpoint(name, address),
        "typed_extension_protocol_options": _protocol(options),
        "transport_socket": _tls_socket(tls),
    }


def _endpoint(cluster: str, address: Config) -> Config:
    return {
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    }


def _protocol(options: Config) -> Config:
    kind = f"{_EXTENSION}.upstreams.http.v3.HttpProtocolOptions"
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": kind} | options}


def _tls_socket(typed: Config) -> Config:
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed}

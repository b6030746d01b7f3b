"""Envoy's filter that adds a credential to requests."""

from __future__ import annotations

from typing import Any

_EXTENSION = "type.googleapis.com/envoy.extensions"


def credential_injector(header: str, secret: dict[str, Any]) -> dict[str, Any]:
    """Sets `header` of each request to a generic secret; `secret` says where it comes from (SdsSecretConfig).

    What the request had under that name does not count. A request that there is no secret for is answered with 401.
    """
    return {
        "name": "envoy.filters.http.credential_injector",
        "typed_config": {
            "@type": f"{_EXTENSION}.filters.http.credential_injector.v3.CredentialInjector",
            "overwrite": True,
            "credential": {
                "name": "envoy.http.injected_credentials.generic",
                "typed_config": {
                    "@type": f"{_EXTENSION}.http.injected_credentials.generic.v3.Generic",
                    "credential": secret,
                    "header": header,
                },
            },
        },
    }

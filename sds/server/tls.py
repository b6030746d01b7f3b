"""TLS of the gRPC listeners from material that changes while they run: no restart, no dropped connection."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from ca.masked import Masked


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What a handshake needs. `generation` is another number whenever anything else is different."""

    generation: int
    chain_pem: bytes
    private_key_pem: Masked[bytes]
    roots_pem: bytes


class RotatingTls:
    """Server credentials that look for newer material at every handshake.

    grpcio asks from threads of its own, several at once; `current` must therefore be a plain attribute read.
    TLS 1.2 and 1.3 only: grpcio offers nothing older.
    """

    def __init__(self, current: Callable[[], TlsMaterial], *, client_certificate: bool) -> None:
        self._current = current
        self._client_certificate = client_certificate
        self._lock = threading.Lock()
        self._generation = -1

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials for one server port. With `client_certificate`, who has none below our roots is not let in."""
        material = self._current()
        self._generation = material.generation
        return grpc.dynamic_ssl_server_credentials(
            _configuration(material),
            self._newer,  # type: ignore[arg-type]  # None is allowed: nothing has changed
            require_client_authentication=self._client_certificate,
        )

    def _newer(self) -> grpc.ServerCertificateConfiguration | None:
        material = self._current()
        with self._lock:
            if material.generation == self._generation:
                return None
            self._generation = material.generation
        return _configuration(material)


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.private_key_pem.reveal(), material.chain_pem)], root_certificates=material.roots_pem
    )

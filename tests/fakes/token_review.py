"""The one call of a Kubernetes API server that Vault's auth method makes: TokenReview, over TLS."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.contract.public.pki import LOOPBACK, WebPki

NAMESPACE, ACCOUNT = "infra", "sds-server"
_UID = "4a9d6c2e-0000-4000-8000-000000000001"


class TokenReviews:
    """Knows the tokens in `accounts`, each with the service account that it belongs to."""

    def __init__(self, url: str, root_pem: str) -> None:
        self.url = url
        self.root_pem = root_pem
        self.accounts: dict[str, str] = {}
        self._key = ec.generate_private_key(ec.SECP256R1())

    def issue(self, number: int = 1) -> str:
        """A pod's token, as Kubernetes shapes it."""
        claims = {
            "iss": "https://kubernetes.default.svc",
            "sub": f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}",
            "jti": str(number),
            "kubernetes.io": {"namespace": NAMESPACE, "serviceaccount": {"name": ACCOUNT, "uid": _UID}},
        }
        token = jwt.encode(claims, self._key, algorithm="ES256")
        self.accounts[token] = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
        return token

    def review(self, token: str) -> dict[str, object]:
        if token not in self.accounts:
            return {"authenticated": False, "error": "unknown"}
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}"]
        return {"authenticated": True, "user": {"username": self.accounts[token], "uid": _UID, "groups": groups}}


@contextmanager
def token_reviews(folder: Path) -> Iterator[TokenReviews]:
    """Served for as long as the block lasts."""
    pki = WebPki()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pki.issue().write(folder, "apiserver"))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({**asked, "status": made.review(asked["spec"]["token"])}).encode()
            self.send_response(201 if self.path == "/apis/authentication.k8s.io/v1/tokenreviews" else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made = TokenReviews(f"https://{LOOPBACK}:{server.server_port}", pki.root_pem.decode())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

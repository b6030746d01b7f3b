"""The `spiffe` client library in a process of its own: its messages have the same names as ours, in one global registry.

python -P workload_client.py watch SOCKET   a line of JSON at every update; takes "source" and "mtls" on stdin
python -P workload_client.py once SOCKET    one fetch of each kind, as JSON
python -P workload_client.py jwt SOCKET     a line of JSON at every update of the JWT bundles; takes questions about
                                            tokens on stdin, as JSON, and answers each with a line
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import SubjectAlternativeName, UniformResourceIdentifier, load_der_x509_certificate
from spiffe import SpiffeId, TrustDomain, WorkloadApiClient, X509Source
from spiffe.bundle.jwt_bundle.jwt_bundle_set import JwtBundleSet
from spiffe.svid.jwt_svid import JwtSvid
from spiffe.svid.x509_svid import X509Svid
from spiffe.workloadapi.errors import WorkloadApiError
from spiffe.workloadapi.x509_context import X509Context


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")  # in one piece: streams and answers come from several threads
    sys.stdout.flush()


def described(context: X509Context) -> dict[str, Any]:
    bundles = context.x509_bundle_set.bundles
    return {
        "ids": [str(svid.spiffe_id) for svid in context.x509_svids],
        "serials": [format(svid.leaf.serial_number, "x") for svid in context.x509_svids],
        "verified": [verified(svid, context) for svid in context.x509_svids],
        "authorities": {str(b.trust_domain.name): len(b.x509_authorities) for b in bundles},
    }


def verified(svid: X509Svid, context: X509Context) -> bool:
    """Whether an authority of its own trust domain's bundle signed it."""
    bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    for authority in bundle.x509_authorities if bundle else ():
        try:
            svid.cert_chain[-1].verify_directly_issued_by(authority)
        except ValueError:
            continue
        return True
    return False


def tls(source: X509Source, svid: X509Svid, folder: Path, *, server: bool) -> ssl.SSLContext:
    """As a program would: the SVID and its key from the source, and its trust domain's bundle to judge peers by."""
    chain, key = folder / "chain.pem", folder / "key.pem"
    svid.save(str(chain), str(key), Encoding.PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(chain, key)
    bundle = source.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    assert bundle is not None
    context.load_verify_locations(
        cadata="".join(a.public_bytes(Encoding.PEM).decode() for a in bundle.x509_authorities)
    )
    return context


def peer_of(connection: ssl.SSLSocket) -> str:
    der = connection.getpeercert(binary_form=True)
    assert der is not None
    names = load_der_x509_certificate(der).extensions.get_extension_for_class(SubjectAlternativeName).value
    (uri,) = names.get_values_for_type(UniformResourceIdentifier)
    return uri


def handshake(source: X509Source, other_svid: X509Svid) -> dict[str, str]:
    """A server with the source's SVID and a client with another; whom each of them saw."""
    seen: dict[str, str] = {}
    left, right = socket.socketpair()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        server = tls(source, source.svid, Path(one), server=True)
        client = tls(source, other_svid, Path(other), server=False)

    def serve() -> None:
        with server.wrap_socket(left, server_side=True) as connection:
            seen["server saw"] = peer_of(connection)
            connection.sendall(connection.recv(4))

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(right) as connection:
        seen["client saw"] = peer_of(connection)
        connection.sendall(b"ping")
        assert connection.recv(4) == b"ping"
    thread.join(10)
    return seen


def watch(path: str) -> None:
    """A source holds the default SVID only; all of them come by the client."""
    newest: list[X509Context] = []

    def update(context: X509Context) -> None:
        newest[:] = [context]
        say(**described(context))

    with X509Source(socket_path=path, timeout_in_seconds=30) as source, WorkloadApiClient(socket_path=path) as client:
        watching = client.stream_x509_contexts(update, lambda error: say(error=str(error)))
        for line in sys.stdin:
            if line == "source\n":
                say(source=format(source.svid.leaf.serial_number, "x"))
            if line == "mtls\n":
                say(**handshake(source, newest[0].x509_svids[-1]))
        watching.cancel()


def once(path: str) -> None:
    found: dict[str, Any] = {}
    with WorkloadApiClient(socket_path=path, default_timeout=20) as client:
        calls = {
            "svid": lambda: str(client.fetch_x509_svid().spiffe_id),
            "bundles": lambda: len(client.fetch_x509_bundles().bundles),
            "jwt": lambda: str(client.fetch_jwt_svid({"test"}).spiffe_id),
            "jwt_bundles": lambda: len(client.fetch_jwt_bundles().bundles),
        }
        for name, fetch in calls.items():
            try:
                found[name] = fetch()
            except WorkloadApiError as error:
                found[name] = str(error)
    say(**found)


def bundles_of(found: JwtBundleSet) -> dict[str, list[str]]:
    return {bundle.trust_domain.name: sorted(bundle.jwt_authorities) for bundle in found.bundles}


def token_of(svid: JwtSvid, client: WorkloadApiClient) -> dict[str, Any]:
    """What the library makes of a token, and whether it verifies it itself by the bundle that it has fetched."""
    domain = TrustDomain(svid.spiffe_id.trust_domain.name)
    bundle = client.fetch_jwt_bundles().get_bundle_for_trust_domain(domain)
    assert bundle is not None
    verified = JwtSvid.parse_and_validate(svid.token, bundle, set(svid.audience))
    return {
        "id": str(svid.spiffe_id),
        "audience": sorted(svid.audience),
        "expiry": svid.expiry,
        "token": svid.token,
        "verified": verified.spiffe_id == svid.spiffe_id,
    }


def jwt(path: str) -> None:
    """Each question is an object: `fetch` with an audience (and `id`), or `validate` with a token and `audience`."""
    with WorkloadApiClient(socket_path=path, default_timeout=20) as client:

        def answer(question: dict[str, Any]) -> dict[str, Any]:
            if "validate" in question:
                svid = client.validate_jwt_svid(question["validate"], question["audience"])
                return {"valid": str(svid.spiffe_id)}
            subject = SpiffeId(question["id"]) if question.get("id") else None
            found = client.fetch_jwt_svids(set(question["fetch"]), subject)
            return {"tokens": [token_of(svid, client) for svid in found]}

        watching = client.stream_jwt_bundles(
            lambda found: say(bundles=bundles_of(found)), lambda error: say(error=str(error))
        )
        for line in sys.stdin:
            try:
                say(**answer(json.loads(line)))
            except WorkloadApiError as error:
                say(refused=str(error))
        watching.cancel()


if __name__ == "__main__":
    {"watch": watch, "once": once, "jwt": jwt}[sys.argv[1]](f"unix://{sys.argv[2]}")

"""TLS of HTTPS listeners: Mozilla's intermediate profile, and certificates that change while the listener serves.

Keys come as bytes and reach OpenSSL through a memory file (memfd_create(2)), so that none ever lies on a disk.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ca.masked import Masked

CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
"""Of TLS 1.2; TLS 1.3 has no bad ones. Forward secret and authenticated (Federation 5.2: Mozilla's intermediate)."""
_HTTP1 = ["http/1.1"]


class TlsUnusable(Exception):
    """A certificate and its key cannot be used by a listener; the message is safe to show."""


def server_context(chain_pem: bytes, private_key_pem: Masked[bytes]) -> ssl.SSLContext:
    """A context with this certificate chain (leaf first) and key, which asks for no client certificate.

    Sessions are not resumed: each connection is a handshake with the certificate of its time. Raises TlsUnusable.
    """
    _check_pair(chain_pem, private_key_pem)
    context = _bare_context()
    pem = private_key_pem.reveal()
    descriptor = os.memfd_create("sds-tls", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as memory:
            memory.write(pem + b"\n" + chain_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except (OSError, ssl.SSLError) as error:  # the latter is one of the former, and says more
        reason = getattr(error, "reason", None) or error.strerror or "unknown"
        raise TlsUnusable(f"TLS does not take the certificate and its key: {reason}") from None
    finally:
        os.close(descriptor)
    return context


def rotating_context(current: Callable[[], ssl.SSLContext], *, ask_client: bool = False) -> ssl.SSLContext:
    """What a listener is made with once: every handshake then takes its certificate from `current()`.

    With `ask_client` a client may show a certificate, which must lead to a root that `current()` was given
    (`trust_clients`). That it did so once is no proof that it still does: see `client_chain`.

    `current` is called on the loop's thread, must be quick and must not raise. The switch is made when the client's
    first message is read, which OpenSSL tells of whether or not it names a server (RFC 6066 section 3).
    """
    outer = _bare_context()

    def switch(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _outer: ssl.SSLContext) -> None:
        connection.context = current()

    outer.sni_callback = switch
    if ask_client:
        outer.verify_mode = ssl.CERT_OPTIONAL
        outer.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    return outer


def trust_clients(context: ssl.SSLContext, roots: Iterable[bytes]) -> None:
    """Let clients show certificates that lead to one of these roots (DER). What it had before stays."""
    for root in roots:
        with suppress(ssl.SSLError, ValueError):  # there already, or of a kind that OpenSSL does not know
            context.load_verify_locations(cadata=root)


def client_chain(tls: Any) -> tuple[bytes, ...]:
    """What the client at the other end of this `ssl.SSLObject` has shown (DER, leaf first); () where it has nothing.

    Not the path that OpenSSL has built, but all that came: the verifier looks for its own.
    """
    if tls is None or tls.getpeercert(binary_form=True) is None:
        return ()
    if hasattr(tls, "get_unverified_chain"):  # public since CPython 3.13
        return tuple(tls.get_unverified_chain())
    return tuple(ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in tls._sslobj.get_unverified_chain())  # noqa: SLF001


def _bare_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(_HTTP1)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    return context


def _check_pair(chain_pem: bytes, private_key_pem: Masked[bytes]) -> None:
    """OpenSSL would ask the terminal for the password of an encrypted key, and says little about the rest."""
    try:
        leaf = x509.load_pem_x509_certificates(chain_pem)[0]
    except ValueError:
        raise TlsUnusable("the certificate file holds no certificate that can be read") from None
    try:
        key = load_pem_private_key(private_key_pem.reveal(), password=None)
    except Exception:  # noqa: BLE001  # whatever a parser throws here may show the key
        raise TlsUnusable("the key file holds no private key that can be read, or an encrypted one") from None
    own, certified = (
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for public in (key.public_key(), leaf.public_key())
    )
    if own != certified:
        raise TlsUnusable("the key does not belong to the certificate")

"""What a TLS peer presents, read by a client of the tests' own."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from cryptography import x509

from sds.demo.ports import LOOPBACK


def context(bundle: bytes, chain: Path | None = None) -> ssl.SSLContext:
    """Trusts `bundle` (PEM) and shows `chain` (a file with certificates and key); SPIFFE peers have no host name."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(cadata=bundle.decode())
    if chain is not None:
        made.load_cert_chain(chain)
    return made


async def presented(port: int, tls: ssl.SSLContext) -> x509.Certificate:
    """The leaf certificate of whoever listens on `port`, verified; raises ssl.SSLError or OSError."""
    _, writer = await asyncio.open_connection(LOOPBACK, port, ssl=tls)
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(der)
    finally:
        writer.transport.abort()


def uri_of(certificate: x509.Certificate) -> str:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uri

"""A certificate signing request (PKCS #10, RFC 2986 section 4) for an authority's key, wherever that key is."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from ca import der
from ca.errors import AuthorityUnavailable
from ca.keys import spki_der
from ca.signer import Signer, signature_algorithm
from ca.template import finished

_NOBODY = x509.Name([])
_ATTRIBUTES = 0xA0  # [0] IMPLICIT, a set
_SET = 0x31
_EXTENSION_REQUEST = der.oid("1.2.840.113549.1.9.14")  # RFC 2985 section 5.4.2


def authority_request(
    signer: Signer, subject: x509.Name = _NOBODY, extensions: Sequence[x509.ExtensionType] = ()
) -> bytes:
    """Proves possession of the key, DER, and asks for a subject and extensions where these are given; whoever signs
    decides on them. Blocks on a remote key. Raises AuthorityUnavailable.
    """
    asked = b""
    if extensions:
        wanted = der.tlv(der.SEQUENCE, *(der.extension(one) for one in extensions))
        asked = der.tlv(der.SEQUENCE, _EXTENSION_REQUEST, der.tlv(_SET, wanted))
    name, spki = subject.public_bytes(), spki_der(signer.public_key)
    info = der.tlv(der.SEQUENCE, der.integer(0), name, spki, der.tlv(_ATTRIBUTES, asked))
    signatures = signer.sign([info])
    if len(signatures) != 1:
        raise AuthorityUnavailable(f"the key gave {len(signatures)} signatures for one request")
    return finished(info, signature_algorithm(signer.public_key), signatures[0])

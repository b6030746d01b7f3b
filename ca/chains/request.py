"""A certificate signing request (PKCS #10, RFC 2986 section 4) for an authority's key, wherever that key is."""

from __future__ import annotations

from cryptography import x509

from ca import der
from ca.errors import AuthorityUnavailable
from ca.keys import spki_der
from ca.signer import Signer, signature_algorithm
from ca.template import finished

_ATTRIBUTES = der.tlv(0xA0)  # [0] IMPLICIT, a set; none are asked for


def authority_request(signer: Signer) -> bytes:
    """Proves possession of the key and says nothing else, DER. Blocks on a remote key. Raises AuthorityUnavailable."""
    nobody = x509.Name([]).public_bytes()
    info = der.tlv(der.SEQUENCE, der.integer(0), nobody, spki_der(signer.public_key), _ATTRIBUTES)
    signatures = signer.sign([info])
    if len(signatures) != 1:
        raise AuthorityUnavailable(f"the key gave {len(signatures)} signatures for one request")
    return finished(info, signature_algorithm(signer.public_key), signatures[0])

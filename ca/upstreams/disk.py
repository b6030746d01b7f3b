"""Under a company's own authority, whose certificate and key lie in files (plugin `disk`).

What the files hold is judged here; they are read elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.spiffe_id import TrustDomain
from ca.chains.checks import MAX_CHAIN, MAX_ROOTS
from ca.chains.path import find_path
from ca.errors import AuthorityUnavailable, CsrRefused, InvalidPath
from ca.keys import KeyType, check_public_key, from_pkcs8_pem, generate, spki_der
from ca.lifetime import Validity
from ca.masked import Masked
from ca.signer import LocalSigner, Signer
from ca.upstream import Minted
from ca.upstreams.issuing import Issuer, draft, path_length_below, sign

NAME = "disk"
MAX_FILE_BYTES = 1024 * 1024

_MOMENT = timedelta(seconds=1)


class IssuerFiles(Protocol):
    """The files as they were when they last were sound."""

    def current(self) -> Issuer:
        """Raises AuthorityUnavailable while they never were."""
        ...


class DiskUpstream:
    """Implements ca.upstream.UpstreamAuthority."""

    name = NAME

    def __init__(self, files: IssuerFiles, serial_source: Callable[[], int], backdate: timedelta) -> None:
        self._files = files
        self._serial_source = serial_source
        self._backdate = backdate

    def check(self) -> None:
        self._files.current()

    async def mint(
        self, key: Signer, key_type: KeyType, trust_domain: TrustDomain, lifetime: timedelta, now: datetime
    ) -> Minted:
        del key_type  # the key says
        issuer = self._files.current()
        wanted = draft(issuer, trust_domain, key.public_key, self._serial_source(), now, lifetime, self._backdate)
        return await asyncio.to_thread(sign, issuer, wanted, now)


def parse_issuer(certificates_pem: bytes, key_pem: Masked[bytes], bundle_pem: bytes | None, now: datetime) -> Issuer:
    """Judge what the files hold. Raises AuthorityUnavailable, which says what is wrong and never shows the key.

    1. `certificates_pem` holds the issuer's certificate, then those above it in order; the root may be left out.
    2. The key is the certificate's, of a kind that is allowed and not known to be weak.
    3. Roots are what `bundle_pem` holds; without it, the self-signed certificate that ends the chain.
    4. The chain leads to one of them now; each of it may sign certificates, with two levels below the issuer's own.
    """
    chain = _certificates(certificates_pem, "the certificate file", MAX_CHAIN)  # 1
    signer = _signer(key_pem, chain[0])  # 2
    roots = _roots(chain, bundle_pem)  # 3
    try:
        path = find_path(chain, roots, now, issuing=True)  # 4
    except InvalidPath as error:
        raise AuthorityUnavailable(f"the certificate file does not lead to a root: {error}") from error
    length = path_length_below(path)
    if length is not None and length < 1:
        raise AuthorityUnavailable("the certificate file's authority allows none below it (path length)")
    validity = Validity(max(one.not_valid_before_utc for one in path), min(one.not_valid_after_utc for one in path))
    return Issuer(chain[0], signer, tuple(map(_der, path[:-1])), tuple(map(_der, roots)), validity, length)


def try_out(issuer: Issuer, trust_domain: TrustDomain, serial: int, now: datetime) -> None:
    """Sign for a throw-away key, which shows what no look at the files does: name constraints that exclude the trust
    domain, a key that does not sign. Raises AuthorityUnavailable.
    """
    key = generate(KeyType.ECDSA_P256).public_key()
    sign(issuer, draft(issuer, trust_domain, key, serial, now, _MOMENT, timedelta(0)), now)


def _roots(chain: Sequence[x509.Certificate], bundle_pem: bytes | None) -> Sequence[x509.Certificate]:
    if bundle_pem is not None:
        return _certificates(bundle_pem, "the bundle file", MAX_ROOTS)
    if chain[-1].subject == chain[-1].issuer:
        return chain[-1:]
    raise AuthorityUnavailable(
        "the certificate file does not end with a self-signed root: add it, or name a bundle file that holds it"
    )


def _signer(key_pem: Masked[bytes], certificate: x509.Certificate) -> LocalSigner:
    try:
        key = from_pkcs8_pem(key_pem)
        check_public_key(key.public_key())
    except (ValueError, CsrRefused) as error:
        raise AuthorityUnavailable(f"the key file cannot be used: {error}") from None
    try:
        certified = spki_der(certificate.public_key())  # type: ignore[arg-type]  # every kind has one
    except Exception as error:  # whatever a parser throws at foreign bytes is a refusal
        raise AuthorityUnavailable("the certificate file's first certificate has a key that cannot be read") from error
    if spki_der(key.public_key()) != certified:
        raise AuthorityUnavailable("the key file does not hold the key of the certificate file's first certificate")
    return LocalSigner.of(key)


def _certificates(pem: bytes, what: str, most: int) -> list[x509.Certificate]:
    """In order, each once. Raises AuthorityUnavailable."""
    if len(pem) > MAX_FILE_BYTES:
        raise AuthorityUnavailable(f"{what} has more than {MAX_FILE_BYTES} bytes")
    if pem.count(b"-----BEGIN ") != pem.count(b"-----BEGIN CERTIFICATE-----"):
        raise AuthorityUnavailable(f"{what} holds something other than certificates")
    try:
        found: Sequence[x509.Certificate] = x509.load_pem_x509_certificates(pem)
        for certificate in found:
            list(certificate.extensions)
    except Exception as error:  # whatever a parser throws at foreign bytes is a refusal
        raise AuthorityUnavailable(f"{what} holds no PEM certificate, or one that cannot be read") from error
    if len(found) > most:
        raise AuthorityUnavailable(f"{what} holds more than {most} certificates")
    return list(dict.fromkeys(found))


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)

"""Trust bundles: the authorities by which a trust domain's SVIDs are verified, as PEM and in the SPIFFE format."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeGuard, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import ExtensionOID

from attestation.spiffe_id import TrustDomain
from ca.errors import CsrRefused, InvalidBundle, InvalidJwk
from ca.jwk import KINDS, from_jwk, to_jwk
from ca.keys import check_foreign_key, spki_der

MAX_BUNDLE_BYTES = 1024 * 1024
MAX_AUTHORITIES = 256
MAX_KEYS = 1024
MAX_SEQUENCE = 2**63 - 1  # Trust Domain and Bundle 4.1.1: at least 64 bits; a database column holds this
MAX_REFRESH_HINT = 10 * 365 * 86400
DEFAULT_REFRESH_HINT = timedelta(minutes=5)

MAX_KEY_ID = 256
"""Characters of a JWT key's ID."""

_CRITICAL = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.INHIBIT_ANY_POLICY,
    }
)
"""What may be critical in an authority's certificate (RFC 5280 4.2.1)."""
_USE_X509 = "x509-svid"
_USE_JWT = "jwt-svid"


@dataclass(frozen=True, slots=True)
class JwtKey:
    """A public key by which JWT-SVIDs are verified. `public_key` is a DER SubjectPublicKeyInfo."""

    id: str
    public_key: bytes = field(repr=False)
    not_after: datetime | None = None

    def jwk(self, use: str) -> dict[str, str]:
        """The key as a JWK for `use`, with its ID."""
        return {"use": use, "kid": self.id, **to_jwk(load_der_public_key(self.public_key))}


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """The authorities of a trust domain: certificates (DER) and JWT keys, oldest first.

    `sequence` grows with every change. `crls` (DER) says what they took back: nothing while it is empty, else there is
    one of each that issues. `tainted` names authorities, by subject key identifier in hex or JWT key ID, whose work is
    to be replaced.
    """

    trust_domain: TrustDomain
    x509_authorities: tuple[bytes, ...] = field(repr=False)
    sequence: int = 0
    refresh_hint: timedelta = DEFAULT_REFRESH_HINT
    jwt_keys: tuple[JwtKey, ...] = ()
    crls: tuple[bytes, ...] = field(default=(), repr=False)
    tainted: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        """SHA-256 over the trust domain and its X.509 authorities, hex; the same for the same content."""
        state = hashlib.sha256(self.trust_domain.name.encode() + b"\0")
        for der in self.x509_authorities:
            state.update(hashlib.sha256(der).digest())
        return state.hexdigest()

    def pem(self) -> bytes:
        """The authorities one after the other, as OpenSSL and Envoy take them."""
        return b"".join(to_pem(der) for der in self.x509_authorities)

    def crl_pem(self) -> bytes:
        """The CRLs one after the other, as Envoy takes them; empty where there are none."""
        return b"".join(to_pem(der, "X509 CRL") for der in self.crls)

    def spiffe_json(self) -> bytes:
        """The SPIFFE bundle: a JWK Set (Trust Domain and Bundle section 4), one entry an authority (X509-SVID 6.1,
        JWT-SVID 6.1).
        """
        keys: list[Mapping[str, object]] = []
        for der in self.x509_authorities:
            jwk = to_jwk(x509.load_der_x509_certificate(der).public_key())
            keys.append({"use": _USE_X509, **jwk, "x5c": [base64.b64encode(der).decode()]})
        keys.extend(key.jwk(_USE_JWT) for key in self.jwt_keys)
        document = {
            "keys": keys,
            "spiffe_sequence": self.sequence,
            "spiffe_refresh_hint": int(self.refresh_hint.total_seconds()),
        }
        return json.dumps(document, indent=2).encode() + b"\n"

    def jwks(self) -> bytes:
        """The JWT keys alone as a plain JWK Set (RFC 7517 section 5), for verifiers that know nothing of SPIFFE."""
        return json.dumps({"keys": [key.jwk("sig") for key in self.jwt_keys]}, separators=(",", ":")).encode()


def to_pem(der: bytes, label: str = "CERTIFICATE") -> bytes:
    """One certificate (RFC 7468 section 5.1) or CRL (section 6) as PEM, without parsing it."""
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def make_bundle(
    trust_domain: TrustDomain,
    authorities: Iterable[bytes],
    sequence: int = 0,
    refresh_hint: timedelta = DEFAULT_REFRESH_HINT,
    *,
    jwt_keys: Iterable[JwtKey] = (),
    crls: Iterable[bytes] = (),
    tainted: Iterable[str] = (),
) -> TrustBundle:
    """A bundle of DER certificates that came from elsewhere, each judged and each once. Raises InvalidBundle.

    CRLs are not read here (ca.revocation), only bounded; nor are JWT keys judged, which whoever parsed them has done;
    but one ID is that of one key.
    """
    unique = tuple(dict.fromkeys(authorities))
    if len(unique) > MAX_AUTHORITIES:
        raise InvalidBundle(f"the bundle has more than {MAX_AUTHORITIES} authorities")
    for number, der in enumerate(unique, start=1):
        _check_authority(number, der)
    if not 0 <= sequence <= MAX_SEQUENCE:
        raise InvalidBundle("spiffe_sequence is not a number that a bundle may have")
    if not timedelta(0) <= refresh_hint <= timedelta(seconds=MAX_REFRESH_HINT):
        raise InvalidBundle("spiffe_refresh_hint is not a number of seconds that a bundle may have")
    keys, lists, suspects = tuple(dict.fromkeys(jwt_keys)), tuple(crls), frozenset(tainted)
    if len({key.id for key in keys}) != len(keys):
        raise InvalidBundle("two JWT keys of the bundle have one ID")
    if max(len(keys), len(lists), len(suspects)) > MAX_KEYS:
        raise InvalidBundle(f"the bundle has more than {MAX_KEYS} keys, CRLs or tainted authorities")
    return TrustBundle(trust_domain, unique, sequence, refresh_hint, keys, lists, suspects)


def parse_pem(trust_domain: TrustDomain, unverified_pem: bytes) -> TrustBundle:
    """Read a PEM bundle. Text around the certificates is allowed (RFC 7468 section 2); other PEM blocks are not.

    Raises InvalidBundle; so does a bundle without any certificate, which would trust nobody by accident.
    """
    _check_size(unverified_pem)
    if unverified_pem.count(b"-----BEGIN ") != unverified_pem.count(b"-----BEGIN CERTIFICATE-----"):
        raise InvalidBundle("the PEM bundle holds something other than certificates")
    try:
        certificates = x509.load_pem_x509_certificates(unverified_pem)
        authorities = [certificate.public_bytes(Encoding.DER) for certificate in certificates]
    except Exception as error:  # whatever a parser throws at foreign bytes is a refusal
        raise InvalidBundle("the PEM bundle holds no certificate, or one that cannot be read") from error
    return make_bundle(trust_domain, authorities)


def parse_spiffe_json(trust_domain: TrustDomain, unverified_json: bytes) -> TrustBundle:
    """Read a SPIFFE bundle. Raises InvalidBundle.

    By the standards: `keys` must be there and may be empty; entries of unknown `kty` or `use` are ignored (Trust Domain
    and Bundle 4.1.3, 4.2); so are X.509 entries without `x5c`, and all but the first value of it (X509-SVID 6.2), and
    JWT keys of kinds that sign no JWT-SVIDs (JWT-SVID 2.1). No name may come twice in one object (6.3).
    """
    _check_size(unverified_json)
    try:
        document = json.loads(unverified_json, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InvalidBundle("the SPIFFE bundle is not JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise InvalidBundle("the SPIFFE bundle is not a JSON object with a list named keys")
    keys = cast("list[object]", document["keys"])
    if len(keys) > MAX_KEYS:
        raise InvalidBundle(f"the SPIFFE bundle has more than {MAX_KEYS} keys")
    found = [_x509_authority(number, key) for number, key in enumerate(keys, start=1)]
    jwt_keys = [_jwt_key(number, key) for number, key in enumerate(keys, start=1)]
    return make_bundle(
        trust_domain,
        [der for der in found if der is not None],
        _integer(document, "spiffe_sequence", 0, MAX_SEQUENCE),
        timedelta(
            seconds=_integer(
                document, "spiffe_refresh_hint", int(DEFAULT_REFRESH_HINT.total_seconds()), MAX_REFRESH_HINT
            )
        ),
        jwt_keys=[key for key in jwt_keys if key is not None],
    )


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice in one object")
    return found


def _counts(key: object, use: str) -> TypeGuard[dict[str, object]]:
    """Whether an entry is of this use and of a kind that is known; of another, nothing at all is looked at."""
    if not isinstance(key, dict) or key.get("use") != use:
        return False
    kind = key.get("kty")
    return isinstance(kind, str) and kind in KINDS


def _x509_authority(number: int, key: object) -> bytes | None:
    if not _counts(key, _USE_X509):
        return None
    chain = key.get("x5c")
    if chain is None or chain == []:
        return None
    if not isinstance(chain, list) or not isinstance(chain[0], str):
        raise InvalidBundle(f"key {number} of the SPIFFE bundle: x5c is not a list of texts")
    try:
        return base64.b64decode(chain[0], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidBundle(f"key {number} of the SPIFFE bundle: x5c is not base64") from error


def _jwt_key(number: int, key: object) -> JwtKey | None:
    """JWT-SVID 6.1, 6.2. Raises InvalidBundle for a key of a known kind that is malformed, weak or has no ID."""
    if not _counts(key, _USE_JWT):
        return None
    try:
        public_key = from_jwk(key)
    except InvalidJwk as error:
        raise InvalidBundle(f"key {number} of the SPIFFE bundle: {error}") from error
    if not isinstance(public_key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return None
    key_id = key.get("kid")
    if not isinstance(key_id, str) or not key_id or len(key_id) > MAX_KEY_ID or not key_id.isprintable():
        raise InvalidBundle(f"key {number} of the SPIFFE bundle: kid is not a printable text")
    return JwtKey(key_id, spki_der(public_key))


def _integer(document: Mapping[str, object], name: str, default: int, maximum: int) -> int:
    value = document.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= maximum:
        raise InvalidBundle(f"{name} is not a whole number from 0 to {maximum}")
    return value


def _check_size(unverified: bytes) -> None:
    if len(unverified) > MAX_BUNDLE_BYTES:
        raise InvalidBundle(f"the bundle has more than {MAX_BUNDLE_BYTES} bytes")


def _check_authority(number: int, der: bytes) -> None:
    """Whether a certificate can be an authority. Raises InvalidBundle.

    1. It can be read, with a serial number that is not negative and a key by which signatures prove something.
    2. A signing certificate has cA and, where it has key usage, keyCertSign (X509-SVID 3.2, 4.1, 4.3).
    3. Nothing critical in it is unknown to RFC 5280: verifiers differ on whether they then refuse it.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)  # 1
        found = list(certificate.extensions)
        key, _ = certificate.public_key(), (certificate.subject, certificate.issuer)  # read only when asked for
    except Exception as error:  # whatever a parser throws at foreign bytes is a refusal
        raise InvalidBundle(f"certificate {number} of the bundle cannot be read") from error
    if certificate.version is not x509.Version.v3 or certificate.serial_number < 0:
        raise InvalidBundle(f"certificate {number} of the bundle is not of version 3, or has a negative serial number")
    try:
        check_foreign_key(key)
    except CsrRefused as error:
        raise InvalidBundle(f"the key of certificate {number} of the bundle is refused: {error}") from error
    extensions = {extension.oid: extension.value for extension in found}
    constraints = extensions.get(x509.BasicConstraints.oid)  # 2
    usage = extensions.get(x509.KeyUsage.oid)
    if not isinstance(constraints, x509.BasicConstraints) or not constraints.ca:
        raise InvalidBundle(f"certificate {number} of the bundle is not an authority (CA is false)")
    if isinstance(usage, x509.KeyUsage) and not usage.key_cert_sign:
        raise InvalidBundle(f"certificate {number} of the bundle may not sign certificates")
    if any(extension.critical and extension.oid not in _CRITICAL for extension in found):  # 3
        raise InvalidBundle(f"certificate {number} of the bundle has a critical extension that is not known")

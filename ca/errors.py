"""What the certificate authority refuses or cannot do. Every message is safe to show."""

from __future__ import annotations


class CaError(Exception):
    """Base of everything this package raises."""


class CsrRefused(CaError):
    """The certificate signing request is malformed, badly signed or carries a weak key."""


class IssuanceRefused(CaError):
    """The request is well formed but the CA's own limits forbid it."""


class AuthorityUnavailable(CaError):
    """There is no active authority, or its key cannot be used now."""


class KeyManagerUnavailable(AuthorityUnavailable):
    """The authority is sound, but its key manager is known to be out of reach now. It comes back by itself."""


class AlreadyIssued(CaError):
    """A prepared certificate was handed in twice; each is signed at most once."""


class CertificateMismatch(CaError):
    """A finished certificate does not say what was intended; it must not leave."""


class KeyUnwrapFailed(CaError):
    """A wrapped key does not open: wrong key-encryption key, or the bytes were altered."""


class InvalidKeyRing(CaError):
    """The text is not a key-encryption key file."""


class InvalidBundle(CaError):
    """The text is not a trust bundle."""


class InvalidCrl(CaError):
    """The bytes are not a certificate revocation list, or not one of the kind that authorities here sign."""


class OcspRefused(CaError):
    """The bytes are not an OCSP request that can be answered."""


class InvalidPath(CaError):
    """The certificates lead to no root that is trusted, or not for this purpose."""


class InvalidSvid(CaError):
    """The certificate is not a leaf X.509-SVID, or does not lead to an authority of the bundle."""


class InvalidJwk(CaError):
    """The members are not a public key, or one that is known to be weak."""


class InvalidJwtSvid(CaError):
    """The token is not a JWT-SVID, or none that may be believed here and now. Never quotes the token."""


class RotationRefused(CaError):
    """An authority is not in a state in which this may be done with it."""

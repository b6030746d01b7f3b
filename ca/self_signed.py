"""Makes an authority that is its own root."""

from __future__ import annotations

from datetime import datetime, timedelta

from attestation.spiffe_id import TrustDomain
from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.chains.certificate import authority_certificate
from ca.keys import KeyType, spki_der
from ca.lifetime import BACKDATE, Validity, floor_second
from ca.signer import Signer
from ca.template import sign_all, subject_key_id


def self_signed_authority(
    trust_domain: TrustDomain,
    signer: Signer,
    *,
    key_ref: str,
    key_type: KeyType,
    serial: int,
    now: datetime,
    lifetime: timedelta,
    backdate: timedelta = BACKDATE,
) -> Authority:
    """A PREPARED X.509 authority whose certificate `signer` signs for itself, valid from `backdate` before now.

    `serial` is positive with at most 159 bits. Judge it with ca.checks.check_authority before it is used.
    """
    validity = Validity(floor_second(now - backdate), floor_second(now + lifetime))
    (certificate,) = sign_all([authority_certificate(trust_domain, signer.public_key, serial, validity)], signer)
    spki = spki_der(signer.public_key)
    return Authority(
        id=subject_key_id(spki).hex(),
        trust_domain=trust_domain,
        kind=AuthorityKind.X509,
        state=AuthorityState.PREPARED,
        key_ref=key_ref,
        key_type=key_type,
        public_key=spki,
        certificate=certificate,
        not_before=validity.not_before,
        not_after=validity.not_after,
        created_at=now,
    )

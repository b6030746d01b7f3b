"""OCSP answers. CRLs have no settings: they hold as long as their issuer, and freshness comes by push."""

from __future__ import annotations

from datetime import timedelta

from sds.config.types import Duration, Section, key


class RevocationSection(Section):
    """How long OCSP answers hold. They are served at `endpoints.revocation`."""

    ocsp_validity: Duration = key(
        "How long an answer holds, and caches keep it. A revocation may take that long to reach who asks by OCSP.",
        default=timedelta(minutes=10),
        ge=timedelta(seconds=10),
        le=timedelta(days=7),
    )
    ocsp_certificate_ttl: Duration = key(
        "Lifetime of the certificate by which each authority lets this server answer for it. Its key is never stored.",
        default=timedelta(days=1),
        ge=timedelta(minutes=1),
        le=timedelta(days=30),
    )

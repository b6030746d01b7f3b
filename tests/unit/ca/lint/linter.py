"""pkilint's RFC 5280 certificate linter, and what of its findings is waived."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from pkilint import loader, pkix
from pkilint.pkix import certificate, crl, extension, name, ocsp
from pkilint.validation import ValidationFindingSeverity


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    code: str
    severity: str
    where: str
    message: str


@dataclass(frozen=True, slots=True)
class Waiver:
    """A finding that is no fault: its code, what its message must look like, and why."""

    code: str
    message: str
    reason: str


WAIVERS = (
    Waiver(
        "pkix.invalid_uri_syntax",
        r'Invalid URI syntax: "spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)*"',
        "An X.509-SVID's URI is of the scheme spiffe (X509-SVID 2), and sound by RFC 3986. The linter knows no schemes "
        "but those of the web.",
    ),
    Waiver(
        "pkix.invalid_domain_name_syntax",
        r'Invalid domain name syntax: "\*(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+"',
        "A wildcard as the whole first label (RFC 6125 6.4.3), which RFC 5280 leaves out of scope (4.2.1.6) and only "
        "profiles for the web speak of.",
    ),
    Waiver(
        "pkix.unknown_subject_key_identifier_calculation_method",
        r"",
        "The identifier is the start of the SHA-256 of the SubjectPublicKeyInfo (RFC 7093 section 2, method 4). The "
        "linter knows the hashes of the bare key alone; RFC 5280 4.2.1.2 leaves the choice.",
    ),
)


def lint_certificate(der: bytes) -> list[Finding]:
    """What is more than information, waived or not."""
    return _findings(_certificate_validator(), loader.load_certificate(der, "certificate"))


def lint_crl(der: bytes) -> list[Finding]:
    return _findings(_crl_validator(), loader.load_crl(der, "CRL"))


def lint_ocsp(der: bytes) -> list[Finding]:
    return _findings(_ocsp_validator(), loader.load_ocsp_response(der, "OCSP response"))


def faults(findings: list[Finding]) -> list[Finding]:
    """Those that are not waived."""
    return [finding for finding in findings if not any(_waives(waiver, finding) for waiver in WAIVERS)]


def _findings(validator: Any, document: Any) -> list[Finding]:
    return sorted(
        Finding(each.finding.code, each.finding.severity.name, str(result.node.path), each.message or "")
        for result in validator.validate(document.root)
        for each in result.finding_descriptions
        if each.finding.severity <= ValidationFindingSeverity.NOTICE  # the most severe has the lowest number
    )


def _waives(waiver: Waiver, finding: Finding) -> bool:
    return waiver.code == finding.code and re.fullmatch(waiver.message, finding.message) is not None


@cache
def _certificate_validator() -> Any:
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


@cache
def _crl_validator() -> Any:
    return crl.create_pkix_crl_validator_container(
        _decoders(),
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )


@cache
def _ocsp_validator() -> Any:
    decoders = [ocsp.create_response_decoder(), *_decoders()]
    return ocsp.create_pkix_ocsp_response_validator_container(decoders, [])


def _decoders() -> list[Any]:
    return [
        pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
        pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
    ]

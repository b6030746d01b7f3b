"""What we issue, under the eyes of a linter that knows RFC 5280 and not us."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import SigningAuthority
from ca.chains.certificate import IssuerFacts, certificate_below
from ca.chains.cross_sign import cross_signed_chain
from ca.checks import THROW_AWAY_PATH, sample_keys
from ca.intent import IssueRequest
from ca.keys import KeyType, PrivateKey, generate
from ca.lifetime import Validity
from ca.ocsp.request import parse_request
from ca.ocsp.response import Known, respond
from ca.profile import SERVER_PATH, IssuancePolicy, Profile, ProfileName, default_profiles
from ca.template import sign_all
from ca.trial import sample_names
from sds.config import ServerConfig, load_server_config
from sds.server.options import profiles
from tests.fakes.ca import CLASSICAL, issue_one, make_authority, make_crl, make_issuer, make_svid, serial_source
from tests.fakes.clock import EPOCH
from tests.unit.ca.lint.linter import WAIVERS, faults, lint_certificate, lint_crl, lint_ocsp
from tests.unit.ca.ocsp.test_response import make_responder
from tests.unit.ca.test_trial import FULL
from tests.unit.test_config_profiles import GATEWAY

TD = TrustDomain("example.org")
DOCS = Path(__file__).parents[4] / "docs" / "profiles.md"
PATHS = {ProfileName.WORKLOAD: "/web", ProfileName.AGENT: THROW_AWAY_PATH, ProfileName.SERVER: SERVER_PATH}


def documented(folder: Path) -> ServerConfig:
    """The samples of docs/profiles.md."""
    tables = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    file = folder / "server.toml"
    file.write_text("\n".join([*tables, GATEWAY.replace("gateway", "tested")]), encoding="utf-8")
    return load_server_config(file, {}, {"trust_domain": "example.org"})


def names_for(profile: Profile) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """The most that an entry may ask of it."""
    dns_names, extra = sample_names(profile.names)
    allowed = profile.subject.allowed
    return dns_names, extra, ",".join(f"{name}={'DE' if name == 'C' else 'x' * allowed[name]}" for name in allowed)


def leaves(profile: Profile, authority: SigningAuthority) -> list[bytes]:
    """By this profile: plain and with all that may be asked for, for each kind of key."""
    issuer, spiffe_id = make_issuer(IssuancePolicy({profile.name: profile})), SpiffeId(TD, PATHS[profile.holder])
    dns_names, extra, subject = names_for(profile)
    return [
        issue_one(request, authority, issuer=issuer).der
        for csr in sample_keys()
        if csr.kind in profile.keys
        for request in (
            IssueRequest(profile.name, spiffe_id, csr),
            IssueRequest(profile.name, spiffe_id, csr, dns_names, None, extra, subject),
        )
    ]


@pytest.fixture(scope="module")
def authority() -> SigningAuthority:
    return make_authority()


@pytest.mark.parametrize("profile", [*default_profiles().values(), FULL], ids=lambda profile: profile.name)
def test_profiles(authority: SigningAuthority, profile: Profile) -> None:
    made = leaves(replace(profile, max_ttl=timedelta(days=30)), authority)
    assert len(made) == 12
    for der in made:
        assert faults(lint_certificate(der)) == []


def test_sample_profiles(authority: SigningAuthority, tmp_path: Path) -> None:
    """Those of the documentation, and one that uses every key there is."""
    samples = {name: each for name, each in profiles(documented(tmp_path)).items() if name not in default_profiles()}
    assert len(samples) > 2
    for profile in samples.values():
        for der in leaves(profile, authority):
            assert faults(lint_certificate(der)) == [], profile.name


@pytest.mark.parametrize("key_type", CLASSICAL)
def test_authorities_of_every_kind(keys: Mapping[KeyType, PrivateKey], key_type: KeyType) -> None:
    authority = make_authority(key=keys[key_type], key_type=key_type)
    assert faults(lint_certificate(authority.authority.certificate)) == []
    assert faults(lint_certificate(make_svid(authority=authority, dns_names=["web.example.org"]).issued.der)) == []
    crl = make_crl(authority, "0a", "ff" * 19)
    assert faults(lint_crl(crl)) == []


def test_intermediates_and_cross_certificates(authority: SigningAuthority) -> None:
    below = generate(KeyType.ECDSA_P256).public_key()
    for path_length in (None, 0, 3):
        unsigned = certificate_below(
            IssuerFacts.of(authority.certificate, authority.signer.public_key),
            TD,
            below,
            serial_source(),
            Validity(EPOCH, EPOCH + timedelta(days=1)),
            path_length=path_length,
        )
        (der,) = sign_all([unsigned], authority.signer)
        assert faults(lint_certificate(der)) == []
    new = make_authority()
    for der in cross_signed_chain(new.authority, authority, serial_source(), EPOCH):
        assert faults(lint_certificate(der)) == []


def test_the_ocsp_responder(authority: SigningAuthority) -> None:
    responder = make_responder(authority)
    assert faults(lint_certificate(responder.certificate)) == []
    leaf = x509.load_der_x509_certificate(make_svid(authority=authority).issued.der)
    request = x509.ocsp.OCSPRequestBuilder().add_certificate(leaf, authority.certificate, hashes.SHA256()).build()
    (asked,) = parse_request(request.public_bytes(Encoding.DER)).cert_ids
    answer = respond(responder, [(asked, Known.GOOD)], nonce=None, now=EPOCH, next_update=EPOCH + timedelta(minutes=10))
    assert faults(lint_ocsp(answer)) == []


def test_the_linter_sees(authority: SigningAuthority) -> None:
    """Otherwise silence would prove nothing: a certificate with faults, and one whose URI has another scheme's form."""
    key = generate(KeyType.ECDSA_P256)
    start = EPOCH.replace(tzinfo=None)
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(hours=1))
    uri = x509.UniformResourceIdentifier("spiffe://Example org/web")
    builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
    bad = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    codes = {finding.code for finding in faults(lint_certificate(bad))}
    assert codes >= {
        "pkix.invalid_uri_syntax",
        "pkix.name_empty",
        "pkix.basic_constraints_extension_not_critical",
        "pkix.san_extension_not_critical_empty_subject",
    }


def test_every_waiver_is_needed(authority: SigningAuthority) -> None:
    """One that no finding has any more would hide the next fault of its code."""
    found = lint_certificate(make_svid(authority=authority, dns_names=["*.example.org"]).issued.der)
    for waiver in WAIVERS:
        assert any(finding.code == waiver.code for finding in found), waiver.code
        assert waiver.reason

"""Every chain we can issue, judged by others: OpenSSL's binary and cryptography's verifier."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from attestation.spiffe_id import SpiffeId
from ca.authority import SigningAuthority
from ca.bundle import to_pem
from ca.csr import VerifiedCsr
from ca.intent import IssuedCertificate, IssueRequest
from ca.keys import KeyType, PrivateKey, generate
from ca.profile import ProfileName
from tests.fakes.ca import CLASSICAL, TRUST_DOMAIN, issue_one, make_authority
from tests.fakes.clock import EPOCH

NOON = EPOCH + timedelta(minutes=30)


@pytest.fixture(scope="module", params=CLASSICAL)
def authority(request: pytest.FixtureRequest) -> SigningAuthority:
    return make_authority(key_type=request.param)


@pytest.fixture(scope="module")
def leaves(authority: SigningAuthority, keys: Mapping[KeyType, PrivateKey]) -> Mapping[KeyType, IssuedCertificate]:
    """One leaf of each kind of key, as workload, agent and server in turn."""
    paths = {ProfileName.WORKLOAD: "/web", ProfileName.AGENT: "/sds/agent/x", ProfileName.SERVER: "/sds/server"}
    profiles = [*ProfileName, *ProfileName]
    return {
        key_type: issue_one(
            IssueRequest(
                profile,
                SpiffeId(TRUST_DOMAIN, paths[profile]),
                VerifiedCsr.of_own_key(keys[key_type]),
                ("web.example.org",),
            ),
            authority,
        )
        for key_type, profile in zip(CLASSICAL, profiles, strict=True)
    }


def openssl_verify(
    tmp_path: Path, roots: list[bytes], leaves: list[bytes], *options: str
) -> subprocess.CompletedProcess[str]:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(b"".join(map(to_pem, roots)))
    names = []
    for number, leaf in enumerate(leaves):
        path = tmp_path / f"{number}.pem"
        path.write_bytes(to_pem(leaf))
        names.append(str(path))
    at = str(int(NOON.timestamp()))
    command = ["openssl", "verify", "-x509_strict", "-attime", at, *options, "-CAfile", str(ca_file), *names]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_accepts_every_chain(
    tmp_path: Path, authority: SigningAuthority, leaves: Mapping[KeyType, IssuedCertificate], purpose: str
) -> None:
    ders = [leaf.der for leaf in leaves.values()]
    result = openssl_verify(tmp_path, [authority.authority.certificate], ders, "-purpose", purpose)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count(": OK\n") == len(CLASSICAL)


def test_openssl_finds_the_right_authority_among_many(
    tmp_path: Path, authority: SigningAuthority, leaves: Mapping[KeyType, IssuedCertificate]
) -> None:
    """Unique subjects: the order of the bundle does not matter."""
    others = [make_authority(key=generate(KeyType.ECDSA_P256)).authority.certificate for _ in range(3)]
    ders = [leaf.der for leaf in leaves.values()]
    for bundle in ([*others, authority.authority.certificate], [authority.authority.certificate, *others]):
        assert openssl_verify(tmp_path, bundle, ders).returncode == 0
    refused = openssl_verify(tmp_path, others, ders)
    assert refused.returncode != 0
    assert ": OK" not in refused.stdout


def test_openssl_refuses_a_leaf_as_an_authority(
    tmp_path: Path, authority: SigningAuthority, leaves: Mapping[KeyType, IssuedCertificate]
) -> None:
    """The test before would prove nothing if everything passed."""
    leaf = leaves[KeyType.ECDSA_P256].der
    assert openssl_verify(tmp_path, [leaf], [leaf]).returncode != 0


def test_cryptography_accepts_every_chain_but_those_of_ed25519_authorities(
    authority: SigningAuthority, leaves: Mapping[KeyType, IssuedCertificate]
) -> None:
    """Its verifier follows the web's rules, which allow no Ed25519 key for an authority; the leaf's kind is free."""
    policy = PolicyBuilder().store(Store([authority.certificate])).time(NOON)
    for key_type, issued in leaves.items():
        leaf = x509.load_der_x509_certificate(issued.der)
        client, server = policy.build_client_verifier(), policy.build_server_verifier(x509.DNSName("web.example.org"))
        if authority.authority.key_type is KeyType.ED25519:
            for verifier in (client, server):
                with pytest.raises(VerificationError, match="Forbidden public key algorithm"):
                    verifier.verify(leaf, [])
            leaf.verify_directly_issued_by(authority.certificate)
            continue
        subjects = client.verify(leaf, []).subjects
        assert subjects is not None, key_type
        assert x509.UniformResourceIdentifier(str(issued.intent.spiffe_id)) in subjects
        assert len(server.verify(leaf, [])) == 2

"""The CA's own limits at the desk where certificates are prepared: whatever was said of an entry before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import SigningAuthority
from ca.csr import LeafKey, VerifiedCsr
from ca.errors import CertificateMismatch, IssuanceRefused
from ca.intent import IssuedCertificate, IssueRequest
from ca.issuer import MAX_KNOWN_NAMES, Prepared
from ca.keys import KeyType, PrivateKey
from ca.limits.names import NameLimits
from ca.limits.subject import SubjectLimits
from ca.limits.usage import Usage
from ca.profile import SERVER_DNS, SERVER_PATH, IssuancePolicy, Profile, default_profiles
from tests.fakes.ca import CLASSICAL, issue_one, make_authority, make_issuer
from tests.fakes.clock import EPOCH
from tests.unit.ca.issuing.kit import names_of, prepare_one

TD = TrustDomain("example.org")
WEB = SpiffeId(TD, "/web")


@pytest.fixture(scope="module")
def authority() -> SigningAuthority:
    return make_authority()


GATEWAY = Profile(
    "gateway",
    names=NameLimits(dns=(".example.org",), wildcards=False, ip=(ip_network("10.0.0.0/8"),), email=("example.org",)),
    subject=SubjectLimits(allowed={"CN": 20}),
    keys=frozenset({LeafKey.ECDSA_P256, LeafKey.RSA_3072, LeafKey.RSA_4096}),
)
PROFILED = IssuancePolicy({**default_profiles(), "gateway": GATEWAY})


def asks(csr: VerifiedCsr, profile: str = "gateway", **more: object) -> IssueRequest:
    return IssueRequest(profile, WEB, csr)._replace(**more)


def test_an_entry_within_its_profile_is_issued_to(authority: SigningAuthority, key: PrivateKey) -> None:
    csr = VerifiedCsr.of_own_key(key)
    wanted = asks(csr, dns_names=("a.example.org",), extra_sans=("ip:10.0.0.1",), subject="CN=a.example.org")
    issued = issue_one(wanted, authority, issuer=make_issuer(PROFILED))
    assert [name.value for name in names_of(issued)][1:] == ["a.example.org", ip_address("10.0.0.1")]
    assert (issued.intent.extra_sans, issued.intent.subject) == (("ip:10.0.0.1",), "CN=a.example.org")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dns_names": ("a.example.com",)}, "dns_names: name 1 is not among"),
        ({"dns_names": ("*.example.org",)}, "dns_names: name 1 has a wildcard"),
        ({"dns_names": (SERVER_DNS,)}, "belong to the server"),
        ({"dns_names": ("*.internal",)}, "belong to the server"),
        ({"extra_sans": ("ip:11.0.0.1",)}, "extra_sans: name 1 is in none of the networks"),
        ({"extra_sans": ("email:a@example.com",)}, "extra_sans: name 1 is in none of the mailbox domains"),
        ({"extra_sans": ("email:a@sds.internal",)}, "reserved for servers"),
        ({"extra_sans": ("uri:spiffe://example.org/admin",)}, "an X.509-SVID has one"),
        ({"subject": "O=Example"}, "subject: sets O"),
        ({"subject": "CN=" + "x" * 21}, "the profile allows 20"),
        ({"subject": "CN=server.sds.internal"}, "reserved for servers"),
        ({"subject": "CN=a.example.com"}, "DNS name that the profile refuses"),
        ({"profile": "nobodys"}, "there is no certificate profile nobodys"),
        ({"profile": ""}, "there is no certificate profile"),
        ({"profile": "workload", "extra_sans": ("ip:10.0.0.1",)}, "extra_sans"),
        ({"spiffe_id": SpiffeId(TD, "/sds/agent/x")}, "belong to servers and agents"),
        ({"spiffe_id": SpiffeId(TD, SERVER_PATH)}, "belong to servers and agents"),
    ],
)
def test_the_ca_checks_the_profile_again(
    authority: SigningAuthority, key: PrivateKey, change: Mapping[str, object], reason: str
) -> None:
    """Whatever was said of the entry when it was made. Twice: nothing is remembered of a refusal."""
    issuer = make_issuer(PROFILED)
    for _ in range(2):
        (answer,) = issuer.prepare([asks(VerifiedCsr.of_own_key(key), **change)], authority, EPOCH)
        assert isinstance(answer, IssuanceRefused)
        assert reason in str(answer)


@pytest.mark.parametrize("key_type", CLASSICAL)
def test_a_profile_takes_only_its_kinds_of_key(
    authority: SigningAuthority, keys: Mapping[KeyType, PrivateKey], key_type: KeyType
) -> None:
    (answer,) = make_issuer(PROFILED).prepare([asks(VerifiedCsr.of_own_key(keys[key_type]))], authority, EPOCH)
    assert isinstance(answer, Prepared if key_type in GATEWAY.keys else IssuanceRefused)


def test_one_batch_may_hold_several_profiles(authority: SigningAuthority, key: PrivateKey) -> None:
    """And the first of each is judged: one that was built wrongly takes all along."""
    csr, issuer = VerifiedCsr.of_own_key(key), make_issuer(PROFILED)
    order = ["workload", "gateway", "workload", "gateway"]
    prepared = issuer.prepare([asks(csr, p) for p in order], authority, EPOCH)
    assert [item.profile.name for item in prepared if isinstance(item, Prepared)] == order
    sound = [item for item in prepared if isinstance(item, Prepared)]
    assert all(isinstance(answer, IssuedCertificate) for answer in issuer.issue(sound))
    one, other = issuer.prepare([asks(csr), asks(csr, "workload")], authority, EPOCH)
    assert isinstance(one, Prepared)
    assert isinstance(other, Prepared)
    forged = Prepared(other.intent, authority, Profile("workload", usage=Usage(key_agreement=True)), other.take())
    assert [type(answer) for answer in issuer.issue([one, forged])] == [CertificateMismatch] * 2


def test_other_limits_count_from_the_next_certificate_on(authority: SigningAuthority, key: PrivateKey) -> None:
    csr, issuer = VerifiedCsr.of_own_key(key), make_issuer(PROFILED)
    wanted = asks(csr, dns_names=("a.example.org",))
    before = prepare_one(wanted, authority, issuer)
    issuer.use(IssuancePolicy({"gateway": replace(GATEWAY, names=NameLimits(dns=("b.example.org",)))}))
    (answer,) = issuer.prepare([wanted], authority, EPOCH)
    assert isinstance(answer, IssuanceRefused)
    prepare_one(asks(csr, dns_names=("b.example.org",)), authority, issuer)
    (issued,) = issuer.issue([before])
    assert isinstance(issued, IssuedCertificate)
    issuer.use(PROFILED)
    prepare_one(wanted, authority, issuer)


def test_what_is_known_stays_bounded(authority: SigningAuthority, key: PrivateKey) -> None:
    csr, issuer = VerifiedCsr.of_own_key(key), make_issuer()
    issuer.prepare([IssueRequest("workload", SpiffeId(TD, f"/{n}"), csr) for n in range(20_000)], authority, EPOCH)
    assert issuer._desk is not None
    assert 0 < len(issuer._desk.known) <= MAX_KNOWN_NAMES
    assert names_of(issue_one(IssueRequest("workload", WEB, csr), authority, issuer=issuer))[0].value == str(WEB)

"""Name constraints, kind by kind (RFC 5280 section 4.2.1.10)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from ca.chains.constraints import violation
from tests.fakes.pki import make


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def dns(text: str) -> x509.GeneralName:
    return x509.DNSName(text)


def mail(text: str) -> x509.GeneralName:
    return x509.RFC822Name(text)


def ip(text: str) -> x509.GeneralName:
    return x509.IPAddress(ip_network(text) if "/" in text else ip_address(text))


def directory(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.GeneralName:
    return x509.DirectoryName(x509.Name([x509.NameAttribute(oid, value) for oid, value in parts]))


ORGANISATION = (NameOID.ORGANIZATION_NAME, "Acme")  # of whatever tests.fakes.pki makes


@pytest.mark.parametrize(
    ("name", "subtree", "within"),
    [
        (uri("spiffe://example.org/web"), uri("example.org"), True),
        (uri("spiffe://Example.ORG/web"), uri("example.org"), True),
        (uri("spiffe://a.example.org/web"), uri("example.org"), False),
        (uri("spiffe://a.example.org/web"), uri(".example.org"), True),
        (uri("spiffe://example.org/web"), uri(".example.org"), False),
        (uri("spiffe://badexample.org/web"), uri("example.org"), False),
        (uri("urn:example.org"), uri("example.org"), False),  # no host at all
        (uri("spiffe://[::1/web"), uri("example.org"), False),  # none that can be read
        (dns("example.org"), dns("example.org"), True),
        (dns("a.b.Example.org"), dns("example.ORG"), True),
        (dns("a.example.org"), dns(".example.org"), True),
        (dns("badexample.org"), dns("example.org"), False),
        (dns("anything"), dns(""), True),
        (dns("*.example.org"), dns("example.org"), True),
        (mail("a@example.org"), mail("a@example.org"), True),
        (mail("b@example.org"), mail("a@example.org"), False),
        (mail("b@example.org"), mail("example.org"), True),
        (mail("b@a.example.org"), mail("example.org"), False),
        (mail("b@a.example.org"), mail(".example.org"), True),
        (ip("10.1.2.3"), ip("10.0.0.0/8"), True),
        (ip("11.1.2.3"), ip("10.0.0.0/8"), False),
        (ip("2001:db8::1"), ip("2001:db8::/32"), True),
        (ip("10.1.2.3"), ip("2001:db8::/32"), False),
    ],
)
def test_a_name_and_a_subtree(name: x509.GeneralName, subtree: x509.GeneralName, within: bool) -> None:
    """What is within is permitted by a permitted subtree, and refused by an excluded one; else the other way round."""
    certificate = make("leaf", ca=False, sans=[name]).certificate
    assert bool(violation(certificate, x509.NameConstraints([subtree], None))) is not within
    assert bool(violation(certificate, x509.NameConstraints(None, [subtree]))) is within


@pytest.mark.parametrize(
    ("subtree", "within"),
    [
        (directory(ORGANISATION), True),
        (directory(ORGANISATION, (NameOID.COMMON_NAME, "leaf")), True),
        (directory(ORGANISATION, (NameOID.COMMON_NAME, "leaf"), (NameOID.COMMON_NAME, "more")), False),
        (directory((NameOID.ORGANIZATION_NAME, "Other")), False),
        (directory((NameOID.COMMON_NAME, "leaf")), False),
    ],
)
def test_the_subject_is_a_directory_name(subtree: x509.GeneralName, within: bool) -> None:
    certificate = make("leaf", ca=False).certificate
    assert bool(violation(certificate, x509.NameConstraints([subtree], None))) is not within
    assert bool(violation(certificate, x509.NameConstraints(None, [subtree]))) is within


def test_kinds_that_are_not_constrained_pass() -> None:
    certificate = make("leaf", ca=False, sans=[uri("spiffe://example.org/web"), dns("web")]).certificate
    assert not violation(certificate, x509.NameConstraints([mail("example.org")], [ip("10.0.0.0/8")]))
    assert not violation(make("leaf", ca=False).certificate, x509.NameConstraints([dns("example.org")], None))


def test_excluded_wins_over_permitted() -> None:
    certificate = make("leaf", ca=False, sans=[dns("a.example.org")]).certificate
    assert "excluded" in violation(certificate, x509.NameConstraints([dns("example.org")], [dns("a.example.org")]))
    assert not violation(certificate, x509.NameConstraints([dns("example.org")], [dns("b.example.org")]))


def test_one_of_several_subtrees_is_enough_and_every_name_needs_one() -> None:
    two = x509.NameConstraints([dns("a.org"), dns("b.org")], None)
    assert not violation(make("leaf", ca=False, sans=[dns("x.a.org"), dns("x.b.org")]).certificate, two)
    assert "c.org" in violation(make("leaf", ca=False, sans=[dns("x.a.org"), dns("c.org")]).certificate, two)


def test_a_wildcard_does_not_reach_into_an_excluded_subtree() -> None:
    certificate = make("leaf", ca=False, sans=[dns("*.example.org")]).certificate
    assert "excluded" in violation(certificate, x509.NameConstraints(None, [dns("secret.example.org")]))
    assert not violation(certificate, x509.NameConstraints(None, [dns("secret.example.com")]))


def test_a_kind_that_nobody_understands_is_refused_where_it_is_constrained() -> None:
    other = x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))
    certificate = make("leaf", ca=False, sans=[other]).certificate
    assert "not understood" in violation(certificate, x509.NameConstraints([other], None))
    assert not violation(certificate, x509.NameConstraints([dns("a.org")], None))

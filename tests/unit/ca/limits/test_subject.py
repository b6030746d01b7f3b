"""What entries may write into a subject, and how it stays no way around the limits on names."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from attestation.spiffe_id import TrustDomain
from attestation.subject import Attribute
from ca.limits.names import NameLimits
from ca.limits.subject import SubjectLimits

NAMES = NameLimits(dns=(".example.org",), wildcards=False, ip=(ip_network("10.0.0.0/8"),))
LIMITS = SubjectLimits(allowed={"CN": 30, "OU": 8})
TD = TrustDomain("example.org")


def misfits(subject: str) -> list[str]:
    found = list(LIMITS.misfits(subject, NAMES))
    assert all(misfit.field == "subject" for misfit in found)
    return [misfit.problem for misfit in found]


@pytest.mark.parametrize(
    "subject",
    ["", "CN=web", "OU=pay,OU=eu", "CN=web.example.org", "CN=10.1.2.3", "CN=J. Doe", "CN=web server 1.2", "CN=a_b"],
)
def test_what_fits(subject: str) -> None:
    assert misfits(subject) == []


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ("O=Example", "sets O"),
        ("CN=" + "x" * 31, "31 characters; the profile allows 30"),
        ("OU=" + "x" * 9, "9 characters"),
        ("CN=web.example.com", "DNS name that the profile refuses"),
        ("CN=example.org", "DNS name that the profile refuses"),
        ("CN=WEB.EXAMPLE.COM.", "DNS name that the profile refuses"),
        ("CN=web\u3002example\u3002com", "DNS name that the profile refuses"),
        ("CN=\uff57eb.example.com", "DNS name that the profile refuses"),
        ("CN=*.example.org", "DNS name that the profile refuses"),
        ("CN=a_b.example.com", "DNS name that the profile refuses"),
        ("CN=11.0.0.1", "address that the profile refuses"),
        ("CN=2001:db8::1", "address that the profile refuses"),
        ("CN=server.sds.internal", "reserved for servers"),
        ("OU=sds.internal", "reserved for servers"),
        ("CN=spiffe://a/b", "SPIFFE ID"),
        ("nonsense", "not a list"),
    ],
)
def test_what_does_not(subject: str, reason: str) -> None:
    (problem,) = misfits(subject)
    assert reason in problem


def test_all_misfits_are_told() -> None:
    assert len(misfits("CN=" + "x" * 31 + ",O=a,L=b")) == 3


def test_the_attributes_in_their_order() -> None:
    assert SubjectLimits().attributes(TD, "") == (Attribute("O", "example.org"),)
    assert SubjectLimits().attributes(TrustDomain("t" * 255), "") == (Attribute("O", "t" * 64),)
    assert SubjectLimits(()).attributes(TD, "") == ()
    fixed = (Attribute("C", "DE"), Attribute("OU", "eu"))
    limits = SubjectLimits(fixed, {"CN": 9, "OU": 9})
    assert limits.attributes(TD, "CN=web,OU=pay") == (*fixed, Attribute("OU", "pay"), Attribute("CN", "web"))


@pytest.mark.parametrize(
    ("fixed", "allowed"),
    [
        ((Attribute("CN", "server.sds.internal"),), {}),
        ((Attribute("C", "Germany"),), {}),
        ((Attribute("O", ""),), {}),
        (None, {"O": 10}),
        ((Attribute("CN", "a"),), {"CN": 10}),
        (None, {"CN": 65}),
        (None, {"CN": 0}),
        (None, {"DC": 1}),
    ],
)
def test_limits_that_make_no_sense(fixed: tuple[Attribute, ...] | None, allowed: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"."):
        SubjectLimits(fixed, allowed)

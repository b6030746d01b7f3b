"""Profiles are tried whole before they are used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network

import pytest

from attestation.spiffe_id import TrustDomain
from attestation.subject import Attribute
from ca.csr import LeafKey
from ca.errors import IssuanceRefused
from ca.limits.names import NameLimits
from ca.limits.subject import SubjectLimits
from ca.limits.usage import Addresses, Usage
from ca.profile import Profile, default_profiles
from ca.trial import sample_names, try_profile
from tests.fakes.ca import serial_source
from tests.fakes.clock import EPOCH

TD = TrustDomain("example.org")
FULL = Profile(
    "full",
    default_ttl=timedelta(minutes=10),
    max_ttl=timedelta(days=365),
    names=NameLimits(
        dns=("a.example.net", ".example.org", "*.example.com"),
        ip=(ip_network("10.0.0.0/8"), ip_network("2001:db8::1/128"), ip_network("::/0")),
        email=("example.org", ".example.net"),
    ),
    subject=SubjectLimits((Attribute("C", "DE"), Attribute("O", "Example")), {"CN": 64, "OU": 64, "UID": 256}),
    usage=Usage(key_agreement=True, purposes=("1.3.6.1.5.5.7.3.4",)),
    addresses=Addresses(("http://a.example/{authority}",), ("http://b.example",), ("http://c.example",)),
)


@pytest.mark.parametrize("profile", [*default_profiles().values(), FULL], ids=lambda profile: profile.name)
def test_sound_profiles_pass(profile: Profile) -> None:
    try_profile(profile, TD, EPOCH, serial_source)
    try_profile(profile, TrustDomain("t" * 255), EPOCH, serial_source)
    with pytest.raises(ValueError, match="serial source"):
        try_profile(profile, TD, EPOCH, iter([1, 0]).__next__)


def test_what_is_tried_is_what_may_be_asked_for() -> None:
    dns_names, extra = sample_names(FULL.names)
    assert dns_names == (
        *("a.example.net", "throw-away.example.org", "throw-away.example.com"),
        *("*.example.org", "*.example.com"),
    )
    assert extra == (
        *("ip:10.255.255.255", "ip:2001:db8::1", "ip:8000::"),
        *("email:throw-away@example.org", "email:throw-away@throw-away.example.net"),
    )
    assert not list(FULL.misfits(dns_names, extra, "CN=x"))
    assert sample_names(NameLimits(dns=())) == ((), ())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda: replace(FULL, names=NameLimits(ip=(ip_network("224.0.0.0/4"),))), "names no host"),
        (lambda: replace(FULL, names=NameLimits(ip=(ip_network("::/128"),))), "names no host"),
        (
            lambda: replace(FULL, names=NameLimits(ip=tuple(ip_network(f"10.0.{n}.0/24") for n in range(65)))),
            "at most 64",
        ),
    ],
)
def test_limits_that_nothing_can_meet_are_found(change: Callable[[], Profile], reason: str) -> None:
    with pytest.raises(IssuanceRefused, match=reason):
        try_profile(change(), TD, EPOCH, serial_source)


def test_every_kind_of_key_is_tried() -> None:
    """A profile for one kind says nothing of the others."""
    for kind in LeafKey:
        if kind is not LeafKey.OTHER:
            profile = Profile("one", keys=frozenset({kind}))
            try_profile(profile, TD, EPOCH, serial_source)
            with pytest.raises(ValueError, match="serial source"):
                try_profile(profile, TD, EPOCH, iter([1, 0]).__next__)


def test_the_issuer_refuses_what_the_trial_is_made_to_find() -> None:
    """A serial source that breaks its promise stands for a fault of the issuing itself."""
    with pytest.raises(ValueError, match="serial source"):
        try_profile(Profile("one"), TD, EPOCH, iter([1, 0]).__next__)

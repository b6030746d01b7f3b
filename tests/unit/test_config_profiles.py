"""[ca.profiles.NAME]: what the tables come to, and every problem that they can have."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from attestation.subject import Attribute
from ca.csr import LeafKey
from ca.limits.names import NameLimits
from ca.limits.subject import SubjectLimits
from ca.limits.usage import Addresses, Usage
from ca.profile import LEAF_KEYS, Profile
from sds.config import changed_keys, describe
from sds.server.options import profiles
from tests.unit.test_config import problems_of, server

GATEWAY = """
[ca.profiles.gateway]
max_ttl = "2h"
key_types = ["ecdsa-p256", "rsa-3072"]
dns_names = [".example.org", "api.example.net"]
dns_wildcards = false
max_dns_names = 8
ip_ranges = ["10.0.0.0/8", "2001:db8::/32"]
email_domains = ["example.org"]
subject = "O=Example,C=DE"
subject_attributes = ["CN:40", "ou"]
key_usage = ["digital_signature", "key_agreement"]
extended_key_usage = ["server_auth", "client_auth", "email_protection", "1.3.6.1.5.5.7.3.17"]
crl_distribution_points = ["http://crl.example.org/{authority}.crl"]
ocsp_responders = ["http://ocsp.example.org"]
ca_issuers = ["http://ca.example.org/{authority}.cer"]
"""


def test_nothing_configured_is_the_built_in_profiles(tmp_path: Path) -> None:
    made = profiles(server(tmp_path))
    assert made == {
        "workload": Profile("workload", timedelta(hours=1), timedelta(seconds=5), timedelta(days=1)),
        "agent": Profile("agent", timedelta(days=1), timedelta(seconds=1), timedelta(days=1)),
        "server": Profile("server", timedelta(hours=1), timedelta(seconds=1), timedelta(hours=1)),
    }


def test_a_table_is_a_profile(tmp_path: Path) -> None:
    made = profiles(server(tmp_path, GATEWAY))["gateway"]
    assert made == Profile(
        "gateway",
        default_ttl=timedelta(hours=1),
        min_ttl=timedelta(seconds=5),
        max_ttl=timedelta(hours=2),
        names=NameLimits(
            dns=(".example.org", "api.example.net"),
            wildcards=False,
            max_dns=8,
            ip=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")),
            email=("example.org",),
        ),
        subject=SubjectLimits((Attribute("C", "DE"), Attribute("O", "Example")), {"CN": 40, "OU": 64}),
        usage=Usage(key_encipherment=False, key_agreement=True, purposes=("1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.17")),
        addresses=Addresses(
            ("http://crl.example.org/{authority}.crl",),
            ("http://ocsp.example.org",),
            ("http://ca.example.org/{authority}.cer",),
        ),
        keys=frozenset({LeafKey.ECDSA_P256, LeafKey.RSA_3072, LeafKey.RSA_4096}),
    )


def test_an_empty_table_is_like_the_workloads_profile(tmp_path: Path) -> None:
    made = profiles(server(tmp_path, "[ca]\nmax_x509_ttl = '6h'\n[ca.profiles.plain]\n"))
    assert made["plain"] == Profile("plain", timedelta(hours=1), timedelta(seconds=5), timedelta(hours=6))
    assert made["plain"].keys == LEAF_KEYS


def test_built_in_profiles_can_be_changed_a_little(tmp_path: Path) -> None:
    toml = """
        [ca.profiles.workload]
        dns_names = [".example.org"]
        [ca.profiles.agent]
        key_types = ["ecdsa-p256"]
        [ca.profiles.server]
        ocsp_responders = ["http://ocsp.example.org"]
    """
    made = profiles(server(tmp_path, toml))
    assert made["workload"].names == NameLimits(dns=(".example.org",))
    assert made["workload"].max_ttl == timedelta(days=1)
    assert made["agent"].keys == {LeafKey.ECDSA_P256}
    assert made["agent"].min_ttl == timedelta(seconds=1)
    assert made["server"].addresses.ocsp == ("http://ocsp.example.org",)
    assert made["server"].dns_names(()) == ("server.sds.internal",)


def test_the_environment_writes_lists_with_commas(tmp_path: Path) -> None:
    env = {
        "SDS_SERVER_CA__PROFILES__GATEWAY__DNS_NAMES": ".a.example, b.example",
        "SDS_SERVER_CA__PROFILES__GATEWAY__IP_RANGES": "",
    }
    made = profiles(server(tmp_path, GATEWAY, env))["gateway"].names
    assert (made.dns, made.ip) == ((".a.example", "b.example"), ())


def test_a_profile_is_shown_and_a_change_needs_no_restart(tmp_path: Path) -> None:
    old, new = server(tmp_path), server(tmp_path, GATEWAY)
    assert not any(key.startswith("ca.profiles") for key in describe(old))
    shown = describe(new)
    assert shown["ca.profiles.gateway.dns_names"] == ".example.org, api.example.net"
    assert shown["ca.profiles.gateway.dns_wildcards"] is False
    assert changed_keys(old, new) == (["ca.profiles"], [])
    assert changed_keys(new, server(tmp_path, GATEWAY)) == ([], [])


PROBLEMS = {
    "dns_names = ['*.sds.internal']": "dns_names",
    "dns_names = ['a..b', '.c.d', '']": "dns_names",
    "dns_names = ['.sds.internal']": "dns_names",
    "dns_names = ['EXAMPLE.org']": "dns_names",
    "dns_names = [3]": "dns_names",
    "dns_names = 3": "dns_names",
    "dns_names = ['a.b', 'a.b']": "dns_names",
    "dns_wildcards = 'perhaps'": "dns_wildcards",
    "max_dns_names = 65": "max_dns_names",
    "ip_ranges = ['10.0.0.1/8']": "ip_ranges",
    "ip_ranges = ['host']": "ip_ranges",
    "email_domains = ['*']": "email_domains",
    "email_domains = ['sds.internal']": "email_domains",
    "subject = 'CN=server.sds.internal'": "subject",
    "subject = 'DC=example'": "subject",
    "subject_attributes = ['CN:65']": "subject_attributes",
    "subject_attributes = ['CN:x']": "subject_attributes",
    "subject_attributes = ['CN:0']": "subject_attributes",
    "subject_attributes = ['CN', 'cn:10']": "subject_attributes",
    "subject_attributes = ['DC']": "subject_attributes",
    "key_types = ['dsa']": "key_types",
    "key_types = ['other']": "key_types",
    "key_usage = ['key_encipherment']": "key_usage",
    "key_usage = ['digital_signature', 'key_cert_sign']": "key_usage",
    "key_usage = ['digital_signature', 'crl_sign']": "key_usage",
    "key_usage = ['nonsense']": "key_usage",
    "extended_key_usage = ['server_auth']": "extended_key_usage",
    "extended_key_usage = ['server_auth', 'client_auth', 'ocsp_signing']": "extended_key_usage",
    "extended_key_usage = ['server_auth', 'client_auth', '2.5.29.37.0']": "extended_key_usage",
    "extended_key_usage = ['server_auth', 'client_auth', 'email_protection', '1.3.6.1.5.5.7.3.4']": "extended_key_usage",
    "crl_distribution_points = ['ldap://a']": "crl_distribution_points",
    "crl_distribution_points = ['http://a/1', 'http://a/2', 'http://a/3', 'http://a/4', 'http://a/5']": "crl_distribution_points",
    "ocsp_responders = ['http://a/{serial}']": "ocsp_responders",
    "ca_issuers = ['http://user@a/']": "ca_issuers",
    "max_ttl = '400d'": "max_ttl",
    "nonsense = 1": "nonsense",
    # What only shows when all is put together:
    "max_ttl = '30m'": "",
    "default_ttl = '2s'": "",
    "key_types = []": "",
    "subject_attributes = ['O']": "",
    "subject = 'CN=a'\nsubject_attributes = ['CN']": "",
    "subject = 'CN=a.example.com'\ndns_names = ['.example.org']": "",
    "ip_ranges = ['224.0.0.0/4']": "",
}


@pytest.mark.parametrize(("lines", "key"), PROBLEMS.items())
def test_each_problem_is_told_with_its_key(tmp_path: Path, lines: str, key: str) -> None:
    found = problems_of(tmp_path, f"[ca.profiles.web]\n{lines}\n")
    assert list(found) == [f"ca.profiles.web.{key}".rstrip(".")]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    toml = """
        [ca.profiles.Bad_Name]
        [ca.profiles.agent]
        dns_names = []
        default_ttl = "1h"
        [ca.profiles.server]
        extended_key_usage = ["server_auth", "client_auth", "1.2.3"]
        [ca.profiles.workload]
        max_ttl = "1h"
        [ca.profiles.long]
        max_ttl = "300d"
        [ca]
        ttl = "100d"
    """
    assert set(problems_of(tmp_path, toml)) == {
        "ca.profiles.Bad_Name",
        "ca.profiles.agent.default_ttl",
        "ca.profiles.agent.dns_names",
        "ca.profiles.server.extended_key_usage",
        "ca.profiles.workload.max_ttl",
        "ca.profiles.long.max_ttl",
    }


def test_a_misspelt_key_is_told_the_right_one(tmp_path: Path) -> None:
    (text,) = problems_of(tmp_path, "[ca.profiles.web]\nip_range = []\n").values()
    assert "did you mean ca.profiles.web.ip_ranges?" in text


def test_profiles_are_bounded(tmp_path: Path) -> None:
    toml = "".join(f"[ca.profiles.p{n}]\n" for n in range(101))
    assert problems_of(tmp_path, toml) == {"ca.profiles": f"has more than 100 profiles (from {tmp_path}/server.toml); "}

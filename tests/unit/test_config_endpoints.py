"""The keys of the public endpoints, and what may not stand together."""

from __future__ import annotations

import pytest

from sds.config import Address, ConfigError, ServerConfig, load_server_config

FILES = {"cert_file": "/c", "key_file": "/k"}


def load(**keys: str) -> ServerConfig:
    flags = {f"endpoints.{key.replace('__', '.')}": value for key, value in keys.items()}
    return load_server_config(None, {}, {"trust_domain": "example.org", **flags})


def problems(**keys: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(**keys)
    return [str(problem) for problem in caught.value.problems]


def test_nothing_is_public_by_default() -> None:
    assert load().endpoints.addresses == {}


def test_one_listener_may_carry_several() -> None:
    shared = {"bundle__listen": "127.0.0.1:8500", "revocation__listen": "127.0.0.1:8500", "bundle__profile": "http"}
    assert load(**shared).endpoints.addresses == {"endpoints.bundle.listen": Address("127.0.0.1", 8500)}


def test_listeners_that_share_a_port_have_the_same_tls() -> None:
    (problem,) = problems(bundle__listen="10.0.0.1:8500", revocation__listen="10.0.0.1:8500")
    assert problem.startswith("endpoints.revocation.listen: is that of endpoints.bundle, whose TLS is another")


def test_any_free_port_is_never_shared() -> None:
    assert load(bundle__listen="127.0.0.1:0", revocation__listen="127.0.0.1:0")


def test_the_ports_of_the_node_api_are_taken() -> None:
    (problem,) = problems(bundle__listen="127.0.0.1:8443")
    assert "is the same address as listen" in problem


def test_https_web_needs_both_files() -> None:
    found = problems(bundle__listen="10.0.0.1:8500", bundle__profile="https_web", bundle__cert_file="/c")
    assert [each.partition(";")[0] for each in found] == [
        "endpoints.bundle.key_file: is needed for the profile https_web"
    ]


def test_files_of_another_profile_are_a_mistake() -> None:
    found = problems(bundle__listen="10.0.0.1:8500", **{f"bundle__{name}": file for name, file in FILES.items()})
    assert len(found) == 2
    assert all("means nothing for the profile https_spiffe" in each for each in found)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "[::]", "localhost"])
def test_plain_http_is_for_loopback_only(host: str) -> None:
    (problem,) = problems(bundle__listen=f"{host}:8500", bundle__profile="http")
    assert "is not a loopback address" in problem


def test_revocation_is_plain_http_wherever_it_listens() -> None:
    """RFC 5280 8: CRLs over https would need a certificate to be trusted first."""
    assert load(revocation__listen="0.0.0.0:8500").endpoints.revocation.listen == Address("0.0.0.0", 8500)


@pytest.mark.parametrize(
    "path", ["", "bundle", "/a/", "/a//b", "/a b", "/a?b", "/{x}", "/a#b", "/%41", "/" + "a" * 300]
)
def test_a_path_is_plain(path: str) -> None:
    (problem,) = problems(bundle__listen="10.0.0.1:8500", bundle__path=path)
    assert "is not a path of a URL" in problem

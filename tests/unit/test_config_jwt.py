"""The keys about JWT-SVIDs: what is refused, and what reaches the parts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ca.jws import JwtAlgorithm
from ca.jwt_svid import KEY_TYPES
from sds.agent import options as agent_options
from sds.config import ConfigError, load_agent_config, load_server_config
from sds.config.jwt import JwtAlgorithmName
from sds.server import options as server_options


def server(**flags: Any) -> Any:
    given = {"trust_domain": "example.org", **{f"jwt.{name}": value for name, value in flags.items()}}
    return load_server_config(None, {}, given)


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        ({"algorithm": "HS256"}, "jwt.algorithm"),
        ({"algorithm": "none"}, "jwt.algorithm"),
        ({"algorithm": "ES512"}, "jwt.algorithm"),
        ({"issuer": "http://oidc.example.org"}, "jwt.issuer"),
        ({"issuer": "oidc.example.org"}, "jwt.issuer"),
        ({"issuer": "https://"}, "jwt.issuer"),
        ({"issuer": "https://user@oidc.example.org"}, "jwt.issuer"),
        ({"issuer": "https://oidc.example.org?x=1"}, "jwt.issuer"),
        ({"issuer": "https://oidc.example.org/#x"}, "jwt.issuer"),
        ({"issuer": "https://oidc.example.org/a b"}, "jwt.issuer"),
        ({"issuer": "https://[::1"}, "jwt.issuer"),
        ({"issuer": "https://oidc.example.org/" + "a" * 300}, "jwt.issuer"),
        ({"issuer": ""}, "jwt.issuer"),
        ({"min_ttl": "2h"}, "jwt.min_ttl"),
        ({"default_ttl": "2h"}, "jwt.default_ttl"),
        ({"default_ttl": "1s"}, "jwt.default_ttl"),
        ({"max_ttl": "2d"}, "jwt.max_ttl"),
        ({"leeway": "1h"}, "jwt.leeway"),
    ],
)
def test_what_cannot_be(flags: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        server(**flags)
    assert [problem.key for problem in caught.value.problems] == [key]


def test_what_reaches_the_signer() -> None:
    policy = server_options.jwt_policy(server())
    assert (policy.default_ttl, policy.max_ttl, policy.issuer) == (timedelta(minutes=5), timedelta(hours=1), "")
    config = server(default_ttl="1m", max_ttl="2m", min_ttl="30s", issuer="https://oidc.example.org/a")
    policy = server_options.jwt_policy(config)
    assert (policy.min_ttl, policy.default_ttl, policy.max_ttl) == (
        timedelta(seconds=30),
        timedelta(minutes=1),
        timedelta(minutes=2),
    )
    assert policy.issuer == "https://oidc.example.org/a"


def test_the_algorithms_are_those_that_the_ca_signs_by() -> None:
    assert set(JwtAlgorithmName.__args__) == {str(algorithm) for algorithm in KEY_TYPES}  # type: ignore[attr-defined]
    assert set(KEY_TYPES) <= set(JwtAlgorithm)


def test_what_reaches_the_agents_tokens() -> None:
    flags = {
        "server": "h:1",
        "jwt.max_tokens": 7,
        "jwt.refresh_jitter": 0.2,
        "jwt.leeway": "5s",
        "upstream.sign_batch": 3,
    }
    options = agent_options.tokens(load_agent_config(None, {}, flags))
    assert (options.capacity, options.batch, options.jitter_share, options.leeway) == (7, 3, 0.2, timedelta(seconds=5))
    for name, value in (("jwt.max_tokens", 0), ("jwt.refresh_jitter", 0.6), ("jwt.leeway", "10m")):
        with pytest.raises(ConfigError):
            load_agent_config(None, {}, {"server": "h:1", name: value})

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.keys import POST_QUANTUM, KeyType
from ca.masked import Masked
from sds.config import (
    AGENT_PREFIX,
    SERVER_PREFIX,
    Address,
    AgentConfig,
    ConfigError,
    DatabaseSection,
    ServerConfig,
    changed_keys,
    database_url,
    describe,
    env_name,
    fingerprint,
    load_agent_config,
    load_server_config,
    masked_url,
    render_reference,
)
from sds.config.load import walk

CANARY = "hunter2-canary"
DOCS = Path(__file__).parents[2] / "docs" / "config.md"


def server(tmp_path: Path, toml: str = "", env: Mapping[str, str] | None = None, **flags: object) -> ServerConfig:
    file = tmp_path / "server.toml"
    file.write_text(toml)
    return load_server_config(file, env or {}, {"trust_domain": "example.org", **flags})


def problems_of(tmp_path: Path, toml: str, env: Mapping[str, str] | None = None, **flags: object) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        server(tmp_path, toml, env, **flags)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return {p.key: f"{p.problem}; {p.hint}" for p in caught.value.problems}


class TestSources:
    def test_defaults_follow_from_the_data_dir_and_the_listener(self) -> None:
        config = load_server_config(None, {}, {"trust_domain": "example.org", "data_dir": "/d", "listen": "[::1]:9000"})
        assert config.attest_listen == Address("::1", 9001)
        assert config.admin_socket == Path("/d/admin.sock")
        assert config.kek.file == Path("/d/kek")
        assert config.database.url.reveal() == "sqlite:////d/sds.sqlite3"
        assert config.ca.default_x509_ttl == timedelta(hours=1)

    def test_flags_win_over_environment_over_file(self, tmp_path: Path) -> None:
        toml = 'nofile = 1000\n[log]\nlevel = "error"\nformat = "console"\n[ca]\nbackdate = "1s"'
        env = {"SDS_SERVER_LOG__LEVEL": "warning", "SDS_SERVER_NOFILE": "2000"}
        config = server(tmp_path, toml, env, **{"log.level": "debug"})
        assert (config.log.level, config.nofile) == ("debug", 2000)
        assert (config.log.format, config.ca.backdate) == ("console", timedelta(seconds=1))

    def test_a_flag_that_was_not_given_changes_nothing(self, tmp_path: Path) -> None:
        assert server(tmp_path, "nofile = 1000", nofile=None).nofile == 1000

    def test_a_part_of_a_table_keeps_the_other_defaults(self, tmp_path: Path) -> None:
        config = server(tmp_path, "[database]\nmigrate = false", data_dir="/d")
        assert not config.database.migrate
        assert config.database.url.reveal().startswith("sqlite:////d/")

    def test_models_can_be_made_directly(self) -> None:
        config = ServerConfig(trust_domain="example.org", data_dir="/d", ca={"default_x509_ttl": "6s"})
        assert config.kek.file == Path("/d/kek")
        assert config.ca.default_x509_ttl == timedelta(seconds=6)

    def test_port_zero_stays_zero(self, tmp_path: Path) -> None:
        config = server(tmp_path, listen="127.0.0.1:0")
        assert (config.listen.port, config.attest_listen.port) == (0, 0)

    def test_kubernetes_service_variables_are_not_ours(self, tmp_path: Path) -> None:
        env = {
            "SDS_SERVER_SERVICE_HOST": "10.0.0.1",
            "SDS_SERVER_SERVICE_PORT": "8443",
            "SDS_SERVER_SERVICE_PORT_GRPC": "8443",
            "SDS_SERVER_PORT": "tcp://10.0.0.1:8443",
            "SDS_SERVER_PORT_8443_TCP": "tcp://10.0.0.1:8443",
            "SDS_SERVER_PORT_8443_TCP_ADDR": "10.0.0.1",
            "SDS_SERVER_CONFIG": "/etc/sds.toml",
        }
        assert server(tmp_path, env=env).listen.port == 8443

    def test_no_key_looks_like_a_kubernetes_variable(self) -> None:
        for prefix, model, load in (
            (SERVER_PREFIX, ServerConfig, load_server_config),
            (AGENT_PREFIX, AgentConfig, load_agent_config),
        ):
            for dotted, _ in walk(model):
                with pytest.raises(ConfigError) as caught:
                    load(None, {env_name(prefix, dotted): "\0"}, {})
                assert dotted in {p.key for p in caught.value.problems} or dotted in _ANY_TEXT

    def test_agent(self) -> None:
        config = load_agent_config(
            None,
            {"SDS_AGENT_ATTESTORS__UNIX__DISCOVER_PATH": "false", "SDS_AGENT_SOCKET_MODE": "0660"},
            {"server": "sds.example.org:8443", "data_dir": "/a", "trust_bundle": "/b", "join_token_file": "/t"},
        )
        assert config.attest_server == Address("sds.example.org", 8444)
        assert config.admin_socket == Path("/a/admin.sock")
        assert config.socket_mode == 0o660
        assert not config.attestors.unix.discover_path
        assert config.sds.default_name == "default"


_ANY_TEXT = {"sds.default_name", "sds.bundle_name", "sds.all_bundles_name"}


class TestProblems:
    def test_all_are_told_at_once(self, tmp_path: Path) -> None:
        toml = f"""
            listne = "127.0.0.1:1"
            nofile = true
            [ca]
            default_x509_ttl = "{CANARY}"
            min_x509_ttl = "2h"
            max_x509_ttl = "1h"
            ttl = "1s"
            [log]
            level = "{CANARY}"
            [health]
            listen = "127.0.0.1:8443"
            """
        env = {"SDS_SERVER_DATABASE__URL": f"mysql://u:{CANARY}@h/d", "SDS_SERVER_LOGS__LEVEL": "debug"}
        found = problems_of(tmp_path, toml, env, trust_domain=f"{CANARY}!")
        assert set(found) == {
            "trust_domain",
            "listne",
            "nofile",
            "ca.default_x509_ttl",
            "ca.min_x509_ttl",
            "ca.ttl",
            "log.level",
            "logs",
            "health.listen",
            "database.url",
        }
        assert "did you mean listen?" in found["listne"]
        assert "did you mean log?" in found["logs"]
        assert "SDS_SERVER_LOGS__LEVEL" in found["logs"]
        assert "SDS_SERVER_DATABASE__URL" in found["database.url"]
        assert "server.toml" in found["log.level"]
        assert "--trust-domain" in found["trust_domain"]

    @pytest.mark.parametrize(
        ("toml", "key"),
        [
            ("log = 3", "log"),
            ("[listen]\nx = 1", "listen"),
            ("[[ca]]\nttl = 1", "ca"),
            ("[limts]", "limts"),
            ("[limits]\nmax_connections = 0", "limits.max_connections"),
            ("[limits]\nmax_connections = 1.5", "limits.max_connections"),
            ("[limits]\nattest_rate = nan", "limits.attest_rate"),
            ("[limits]\nattest_rate = 0", "limits.attest_rate"),
            ("[grpc]\nreflection = 'perhaps'", "grpc.reflection"),
            ("[ca]\nkey_type = 'rsa-1024'", "ca.key_type"),
            ("[ca]\nbackdate = 2020-01-01", "ca.backdate"),
            ("data_dir = ''", "data_dir"),
            ("data_dir = 3", "data_dir"),
            ('data_dir = "a\\u0000b"', "data_dir"),
            (f"admin_socket = '/{'x' * 120}'", "admin_socket"),
            ("listen = '8443'", "listen"),
            ("listen = ':8443'", "listen"),
            ("listen = '::1:8443'", "listen"),
            ("listen = '[::zz]:8443'", "listen"),
            ("listen = 'a_b!:8443'", "listen"),
            ("listen = '127.0.0.1:65536'", "listen"),
            ("listen = '127.0.0.1:٣'", "listen"),
            ("listen = '127.0.0.1:65535'", "attest_listen"),
            ("attest_listen = '127.0.0.1:8443'", "attest_listen"),
            ("[database]\nurl = 'postgresql'", "database.url"),
            ("[database]\nurl = 'postgresql://[::1/x'", "database.url"),
            ("[database]\nurl = 3", "database.url"),
            ("[database]\npassword = 'x'", "database.password"),
            ("[join_token]\ndefault_ttl = '2d'", "join_token.default_ttl"),
            ('"a.b" = 1', "a.b"),
        ],
    )
    def test_each(self, tmp_path: Path, toml: str, key: str) -> None:
        assert set(problems_of(tmp_path, toml)) == {key}

    def test_value_and_table(self, tmp_path: Path) -> None:
        assert "log" in problems_of(tmp_path, "log = 3", {"SDS_SERVER_LOG__LEVEL": "debug"})

    def test_required_keys(self) -> None:
        with pytest.raises(ConfigError) as caught:
            load_agent_config(None, {"SDS_AGENT_LOG__LEVEL": "x", "SDS_AGENT_UPSTREAM__BACKOFF_MIN": "31s"}, {})
        assert {p.key for p in caught.value.problems} == {"server", "log.level", "upstream.backoff_min"}
        assert str(caught.value).startswith("3 problems")

    @pytest.mark.parametrize(
        ("flags", "key"),
        [
            ({"server": "h:0"}, "server"),
            ({"socket": "/a/admin.sock", "data_dir": "/a"}, "admin_socket"),
            ({"socket_mode": "0o1777"}, "socket_mode"),
            ({"socket_mode": "99"}, "socket_mode"),
            ({"sds.bundle_name": "default"}, "sds.default_name"),
            ({"sds.all_bundles_name": "spiffe://x"}, "sds.all_bundles_name"),
        ],
    )
    def test_agent(self, flags: dict[str, object], key: str) -> None:
        with pytest.raises(ConfigError) as caught:
            load_agent_config(None, {}, {"server": "h:1", **flags})
        assert key in {p.key for p in caught.value.problems}

    def test_files(self, tmp_path: Path) -> None:
        missing = tmp_path / "missing.toml"
        binary = tmp_path / "binary.toml"
        binary.write_bytes(b"\xff\xfe")
        broken = tmp_path / "broken.toml"
        broken.write_text(f"x = 1\npassword = {CANARY}\n")
        large = tmp_path / "large.toml"
        large.write_bytes(b"#" * 1_100_000)
        deep = tmp_path / "deep.toml"
        deep.write_text("x = " + "[" * 100_000)
        for file, words in (
            (missing, "No such file"),
            (tmp_path, "Is a directory"),
            (binary, "UTF-8"),
            (broken, "line 2"),
            (large, "larger"),
            (deep, ""),
        ):
            with pytest.raises(ConfigError) as caught:
                load_server_config(file, {}, {"trust_domain": "example.org"})
            assert words in str(caught.value)
            assert str(file) in str(caught.value)
            assert CANARY not in str(caught.value)

    @settings(max_examples=60)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
            max_leaves=8,
        ),
        st.sampled_from([dotted for dotted, _ in walk(ServerConfig)] + ["ca", "log", "x", ""]),
    )
    def test_any_value_is_taken_or_told_of(self, value: object, key: str) -> None:
        try:
            config = load_server_config(None, {}, {"trust_domain": "example.org", key: value})
        except ConfigError as error:
            assert error.problems
        else:
            assert describe(config)


class TestSecrets:
    def test_a_password_in_the_url_shows_nowhere(self, tmp_path: Path) -> None:
        url = f"postgresql://sds:{CANARY}@db.example.org:5432/sds?sslpassword={CANARY}"
        config = server(tmp_path, f"[database]\nurl = '{url}'")
        for text in (repr(config), str(config), str(describe(config)), str(config.model_dump()), f"{config.database}"):
            assert CANARY not in text
        assert describe(config)["database.url"] == "postgresql://sds:***@db.example.org:5432/sds?***"
        assert database_url(config.database).reveal() == url
        assert masked_url(Masked("sqlite:////d/x")) == "sqlite:////d/x"

    @pytest.mark.parametrize("password", ["a@b", "a/b", "a?b", "a#b", "a:b", "@", "://"])
    def test_a_password_that_should_have_been_escaped_does_not_show(self, password: str) -> None:
        url = Masked(f"postgresql://u:{CANARY}{password}{CANARY}@h/d")
        assert masked_url(url) == "postgresql://u:***@h/d"

    def test_password_file(self, tmp_path: Path) -> None:
        secret = tmp_path / "pw"
        secret.write_text("p@ss/w:rd\n")
        config = server(
            tmp_path, f"[database]\nurl = 'postgresql://sds@db/sds?sslmode=verify-full'\npassword_file = '{secret}'"
        )
        assert database_url(config.database).reveal() == "postgresql://sds:p%40ss%2Fw%3Ard@db/sds?sslmode=verify-full"

    @pytest.mark.parametrize(
        ("url", "file", "key"),
        [
            ("postgresql://sds@db/sds", "/missing", "database.password_file"),
            ("postgresql://db/sds", None, "database.url"),
            (f"postgresql://sds:{CANARY}@db/sds", None, "database.url"),
        ],
    )
    def test_password_file_problems(self, tmp_path: Path, url: str, file: str | None, key: str) -> None:
        secret = tmp_path / "pw"
        secret.write_text(CANARY)
        config = server(tmp_path, f"[database]\nurl = '{url}'\npassword_file = '{file or secret}'")
        with pytest.raises(ConfigError) as caught:
            database_url(config.database)
        assert [p.key for p in caught.value.problems] == [key]
        assert CANARY not in str(caught.value)

    def test_fingerprint_names_the_config_without_its_secrets(self, tmp_path: Path) -> None:
        one = server(tmp_path, "[database]\nurl = 'postgresql://u:a@h/d'")
        other = server(tmp_path, "[database]\nurl = 'postgresql://u:b@h/d'")
        assert fingerprint(one) == fingerprint(other) != fingerprint(server(tmp_path))
        assert len(fingerprint(one)) == 16

    def test_changed_keys(self, tmp_path: Path) -> None:
        old = server(tmp_path, "[database]\nurl = 'postgresql://u:a@h/d'")
        new = server(tmp_path, "nofile = 999\n[database]\nurl = 'postgresql://u:b@h/d'\n[log]\nlevel = 'debug'")
        assert changed_keys(old, new) == (["log.level"], ["nofile", "database.url"])
        assert changed_keys(old, old) == ([], [])


def test_frozen(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        server(tmp_path).nofile = 3  # type: ignore[misc]


def test_the_reference_is_current() -> None:
    rendered = render_reference()
    assert rendered == DOCS.read_text(encoding="utf-8"), (
        "run: python -c 'from sds.config import render_reference; print(render_reference(), end=\"\")' > docs/config.md"
    )
    for model in (ServerConfig, AgentConfig):
        for dotted, field in walk(model):
            assert f"| `{dotted}`" in rendered or f"### `[{dotted}.NAME]`" in rendered
            assert field.description
            assert field.description.endswith("."), dotted


def test_key_types_are_the_authoritys() -> None:
    for model, dotted, kinds in (
        (ServerConfig, "ca.key_type", set(KeyType)),
        (AgentConfig, "svid.key_type", set(KeyType) - POST_QUANTUM),
    ):
        field = dict(walk(model))[dotted]
        assert set(field.annotation.__args__) == {str(kind) for kind in kinds}  # type: ignore[union-attr]


def test_every_default_can_be_written_and_read_back() -> None:
    config = ServerConfig(trust_domain="example.org")
    assert describe(load_server_config(None, {}, describe(config))) == describe(config)
    agent = AgentConfig(server="h:1")
    assert describe(load_agent_config(None, {}, describe(agent))) == describe(agent)


def test_sections_can_be_handed_over_made() -> None:
    config = ServerConfig(trust_domain="example.org", data_dir="/d", database=DatabaseSection(url="sqlite:////x"))
    assert config.database.url.reveal() == "sqlite:////x"

"""Whom the server may write to, and how: what is refused before it starts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sds.config import ConfigError, ServerConfig, load_server_config
from sds.config.noticing.section import KINDS
from sds.notices.notice import Kind
from sds.notices.plan import Daily, Every
from sds.notices.recipients import Recipients
from sds.server.wiring.notices import notice_rules, recipients

MAIL = '[notices.smtp]\nhost = "mail.example.org"\nsender = "sds@example.org"\n'


def load(tmp_path: Path, toml: str) -> ServerConfig:
    file = tmp_path / "server.toml"
    file.write_text(toml)
    return load_server_config(file, {}, {"trust_domain": "example.org"})


def problems(tmp_path: Path, toml: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, toml)
    return {problem.key: problem.problem for problem in refused.value.problems}


def test_without_any_nobody_is_told_and_everything_listed(tmp_path: Path) -> None:
    section = load(tmp_path, "").notices
    assert section.enabled
    assert recipients(section) == Recipients(mail=False)
    assert notice_rules(section, "example.org", "host").digest == Daily(480)


def test_recipients(tmp_path: Path) -> None:
    toml = (
        '[notices]\ndefault = ["ops@example.org"]\nowners = ["pay=a@pay.example", "pay=b@pay.example", "a=b=c@example.org"]\n'
        'digest = "1h"\n' + MAIL
    )
    section = load(tmp_path, toml).notices
    made = recipients(section)
    assert made.owners == {"pay": ("a@pay.example", "b@pay.example"), "a=b": ("c@example.org",)}
    assert made.domains == {"example.org", "pay.example"}
    assert made.of("me@evil.example") == ("ops@example.org",)
    assert notice_rules(section, "example.org", "host").digest == Every(timedelta(hours=1))
    narrow = load(tmp_path, toml.replace("digest", 'owner_domains = ["Other.example"]\ndigest')).notices
    assert recipients(narrow).domains == {"other.example"}


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ('[notices]\ndefault = ["ops@example.org"]', "notices.smtp.host"),
        ('[notices]\ndefault = ["Ops <ops@example.org>"]\n' + MAIL, "notices.default"),
        ('[notices]\ndefault = ["a@x.org\\r\\nBcc: b@x.org"]\n' + MAIL, "notices.default"),
        ('[notices]\nowners = ["pay"]\n' + MAIL, "notices.owners"),
        ('[notices]\nowner_domains = ["exa mple"]', "notices.owner_domains"),
        ('[notices]\nurgent = ["everything"]', "notices.urgent"),
        ('[notices]\ndigest = "25:00"', "notices.digest"),
        ('[notices]\ndigest = "8d"', "notices.digest"),
        ("[notices.stages]\ncertificates = []", "notices.stages.certificates"),
        ('[notices.stages]\ncertificates = ["1h", "60m"]', "notices.stages.certificates"),
        ('[notices.stages]\ncertificates = ["1h", "soon"]', "notices.stages.certificates"),
        ('[notices.smtp]\nhost = "mail.example.org"', "notices.smtp.sender"),
        (MAIL.replace("sds@example.org", "sds@example.org\\r\\nX: y"), "notices.smtp.sender"),
        (MAIL.replace("mail.example.org", "mail example"), "notices.smtp.host"),
        (MAIL + 'security = "none"', "notices.smtp.security"),
        (MAIL + 'user = "sds"', "notices.smtp.password_file"),
        (MAIL + 'password_file = "/p"', "notices.smtp.password_file"),
        (MAIL + 'user = "sds"\npassword_file = "/p"\npassword_env = "P"', "notices.smtp.password_env"),
        ('[notices.webhook]\nurl = "https://hook.example.org"', "notices.webhook.signing_key_file"),
        ('[notices.webhook]\nsigning_key_file = "/k"\nurl = "http://hook.example.org"', "notices.webhook.url"),
        ('[notices.webhook]\nsigning_key_file = "/k"\nurl = "https://u:p@hook.example.org"', "notices.webhook.url"),
        ('[notices.webhook]\nsigning_key_file = "/k"\nurl = "file:///etc/passwd"', "notices.webhook.url"),
        ('[notices.webhook]\nsigning_key_file = "/k"\nurl = "https://hook:99999/"', "notices.webhook.url"),
    ],
)
def test_what_is_refused(tmp_path: Path, toml: str, key: str) -> None:
    assert key in problems(tmp_path, toml)


def test_plain_smtp_and_http_are_for_this_host(tmp_path: Path) -> None:
    for host in ("localhost", "127.0.0.1", "::1"):
        assert (
            load(tmp_path, MAIL.replace("mail.example.org", host) + 'security = "none"').notices.smtp.port_or_default
            == 25
        )
    hook = '[notices.webhook]\nsigning_key_file = "/k"\nurl = "http://[::1]:8080/x"'
    assert load(tmp_path, hook).notices.webhook.url


def test_the_kinds_are_those_that_there_are() -> None:
    assert tuple(map(str, Kind)) == KINDS

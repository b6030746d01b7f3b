"""The admin API over TLS: whom the client trusts, as whom it calls, and that no token goes anywhere else."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from attestation.spiffe_id import SpiffeId
from ca.masked import Masked
from sds.client import Client, ClientCertificate, Https, Token, TokenFile
from sds.client.errors import Unauthenticated, Unreachable, Unusable
from tests.fakes.http_server import Replying, answer, replying
from tests.fakes.pki import Holder, make

EMPTY = answer(body=b'{"agents": [], "next_cursor": null}')
DAY = timedelta(days=1)


def holder(name: str, issuer: Holder, *sans: x509.GeneralName) -> Holder:
    now = datetime.now(UTC)
    return make(name, issuer, ca=False, before=now - DAY, after=now + DAY, sans=sans)


@pytest.fixture(scope="module")
def root() -> Holder:
    now = datetime.now(UTC)
    return make("root", before=now - DAY, after=now + DAY)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, root: Holder) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    server = holder("server", root, x509.DNSName("localhost"), x509.DNSName("admin.sds.test"))
    for name, one in (("server", server), ("client", holder("client", root)), ("next", holder("next", root))):
        (folder / f"{name}.pem").write_bytes(one.pem)
        (folder / f"{name}.key").write_bytes(one.key_pem)
    (folder / "ca.pem").write_bytes(root.pem)
    (folder / "token").write_text("sds_at_first\n")
    return folder


@pytest.fixture
def tls(files: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / "server.pem", files / "server.key")
    return context


@pytest.fixture
def server(tls: ssl.SSLContext) -> Iterator[Replying]:
    with replying(EMPTY, tls=tls) as found:
        yield found


def url(server: Replying, host: str = "localhost") -> str:
    return f"https://{host}:{server.where}"


def test_a_token_is_read_anew_for_each_call(server: Replying, files: Path) -> None:
    target = Https(url(server), files / "ca.pem", TokenFile(files / "token"))
    with Client(target) as client:
        list(client.agents.list())
        (files / "token").write_text("sds_at_second")
        list(client.agents.list())
    (files / "token").write_text("sds_at_first\n")
    assert [server.header(number, "authorization") for number in (0, 1)] == [
        "Bearer sds_at_first",
        "Bearer sds_at_second",
    ]
    assert "sds_at" not in repr(target)


def test_a_token_may_be_given_itself_and_is_never_shown(server: Replying, files: Path) -> None:
    target = Https(url(server), files / "ca.pem", Token(Masked("sds_at_given")))
    with Client(target) as client:
        list(client.agents.list())
    assert server.header(0, "authorization") == "Bearer sds_at_given"
    assert "given" not in f"{target!r} {target.credential!r}"


@pytest.mark.parametrize("token", ["", " ", "a b", "a\r\nX-Evil: 1", "ä", "\x00", "x" * 70_000])
def test_what_is_no_token_is_sent_nowhere(server: Replying, files: Path, tmp_path: Path, token: str) -> None:
    (tmp_path / "token").write_text(token)
    for credential in (TokenFile(tmp_path / "token"), Token(Masked(token))):
        with Client(Https(url(server), files / "ca.pem", credential)) as client, pytest.raises(Unusable) as caught:
            list(client.agents.list())
        assert not token.strip() or token.strip() not in str(caught.value)
    assert server.requests == []


def test_a_token_file_that_is_missing_is_named(server: Replying, files: Path, tmp_path: Path) -> None:
    target = Https(url(server), files / "ca.pem", TokenFile(tmp_path / "none"))
    with Client(target) as client, pytest.raises(Unusable, match="none cannot be read"):
        list(client.agents.list())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://localhost", "https://"),
        ("localhost:8443", "https://"),
        ("https://", "no host"),
        ("https://user:pass@localhost", "password"),
        ("https://localhost/v1", "host and port"),
        ("https://localhost?x", "host and port"),
        ("https://local host", "no host"),
        ("https://localhost:port", "cannot be read"),
        ("https://[::1", "cannot be read"),
    ],
)
def test_urls_that_would_not_do(text: str, why: str) -> None:
    with pytest.raises(Unusable, match=why) as caught:
        Https(text)
    assert "pass@" not in str(caught.value)


def test_a_certificate_of_somebody_else_gets_no_token(server: Replying, tmp_path: Path, files: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(make("another root").pem)
    for ca_file in (tmp_path / "ca.pem", None):
        with (
            Client(Https(url(server), ca_file, TokenFile(files / "token"))) as client,
            pytest.raises(Unreachable, match="not to be trusted"),
        ):
            list(client.agents.list())
    assert server.requests == []


def test_a_certificate_for_another_name_gets_no_token(server: Replying, files: Path) -> None:
    target = Https(url(server, "127.0.0.1"), files / "ca.pem", TokenFile(files / "token"))
    with Client(target) as client, pytest.raises(Unreachable, match="not to be trusted"):
        list(client.agents.list())
    assert server.requests == []
    named = Https(url(server, "127.0.0.1"), files / "ca.pem", TokenFile(files / "token"), server_name="admin.sds.test")
    with Client(named) as client:
        assert list(client.agents.list()) == []


def test_a_server_is_told_by_its_spiffe_id_before_anything_is_sent(root: Holder, files: Path, tmp_path: Path) -> None:
    """Whatever its name is; and neither by another ID, nor by one of several."""
    wanted = SpiffeId.parse("spiffe://example.org/sds/server")
    uris = [x509.UniformResourceIdentifier(f"{wanted}{more}") for more in ("", "2")]
    for number, (sans, good) in enumerate(((uris[:1], True), (uris[1:], False), (uris, False), ([], False))):
        svid = holder(f"svid{number}", root, *sans)
        (tmp_path / "svid.pem").write_bytes(svid.pem)
        (tmp_path / "svid.key").write_bytes(svid.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "svid.pem", tmp_path / "svid.key")
        with replying(EMPTY, tls=context) as server:
            target = Https(url(server, "127.0.0.1"), files / "ca.pem", TokenFile(files / "token"), server_id=wanted)
            with Client(target) as client:
                if good:
                    assert list(client.agents.list()) == []
                else:
                    with pytest.raises(Unreachable, match="it is not that of"):
                        list(client.agents.list())
        assert bool(server.requests) is good
    with pytest.raises(Unusable, match="ca_file"):
        Https("https://localhost", server_id=wanted)


def test_a_client_certificate_that_was_renewed_is_used_from_then_on(
    tls: ssl.SSLContext, files: Path, tmp_path: Path
) -> None:
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(files / "ca.pem")
    pair = ClientCertificate(tmp_path / "svid.pem", tmp_path / "svid.key")

    def renew(name: str) -> None:
        pair.certificate_file.write_bytes((files / f"{name}.pem").read_bytes())
        pair.key_file.write_bytes((files / f"{name}.key").read_bytes())

    seen: list[str] = []

    def who(connection: object, _: bytes) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        subject = (connection.getpeercert() or {}).get("subject", ())
        seen.append(str(subject))
        connection.sendall(EMPTY)

    with replying(who, tls=tls) as server, Client(Https(url(server), files / "ca.pem", certificate=pair)) as client:
        renew("client")
        list(client.agents.list())
        renew("next")
        list(client.agents.list())
    assert "'client'" in seen[0] and "'next'" in seen[1]


def test_files_that_are_no_certificates_are_named_and_not_shown(server: Replying, files: Path, tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("hunter2")
    junk = tmp_path / "junk"
    key_of_another = ClientCertificate(files / "client.pem", files / "next.key")
    for target in (
        Https(url(server), junk),
        Https(url(server), tmp_path / "none"),
        Https(url(server), files / "ca.pem", certificate=ClientCertificate(junk, junk)),
        Https(url(server), files / "ca.pem", certificate=key_of_another),
    ):
        with Client(target) as client, pytest.raises(Unusable) as caught:
            list(client.agents.list())
        assert "hunter2" not in str(caught.value)


def test_nobody_listens_and_no_such_host(files: Path) -> None:
    for text in ("https://localhost:1", "https://no-such-host.invalid"):
        with Client(Https(text, files / "ca.pem")) as client, pytest.raises(Unreachable):
            list(client.agents.list())


def test_who_is_not_known_is_told_so(tls: ssl.SSLContext, files: Path) -> None:
    refusal = answer(401, b'{"type": "urn:sds:problem:unauthenticated", "detail": "who are you?"}')
    with (
        replying(refusal, tls=tls) as server,
        Client(Https(url(server), files / "ca.pem")) as client,
        pytest.raises(Unauthenticated, match="who are you"),
    ):
        list(client.agents.list())
    assert server.header(0, "authorization") is None


def test_proxies_of_the_environment_get_nothing(server: Replying, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with replying(answer()) as proxy:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.where}")
        with Client(Https(url(server), files / "ca.pem", TokenFile(files / "token"))) as client:
            list(client.agents.list())
        assert proxy.requests == []

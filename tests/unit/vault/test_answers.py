"""What Vault answers is parsed strictly, and its errors never hold what was sent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.masked import Masked
from sds.vault.answers import MAX_RETRY_AFTER, Reply, read_reply, retry_after
from sds.vault.call import Call, make_call
from sds.vault.errors import Replay, VaultDenied, VaultError, VaultNotFound, VaultRefused, VaultUnavailable

GET = make_call("GET", "secret/data/a")
CANARY = "canary-4711"


def reply(status: int, body: object = None, after: float | None = None) -> Reply:
    return Reply(status, b"" if body is None else json.dumps(body).encode(), after)


def refused(status: int, body: object = None, call: Call = GET, after: float | None = None) -> VaultError:
    with pytest.raises(VaultError) as caught:
        read_reply(reply(status, body, after), call)
    return caught.value


def test_an_answer() -> None:
    body = {
        "request_id": "1", "lease_id": "database/creds/r/abc", "renewable": True, "lease_duration": 60,
        "data": {"username": "u"}, "wrap_info": None, "warnings": None, "auth": None,
    }  # fmt: skip
    answer = read_reply(reply(200, body), GET)
    assert (dict(answer.data), answer.lease_id, answer.lease_seconds, answer.renewable) == (
        {"username": "u"}, "database/creds/r/abc", 60, True
    )  # fmt: skip
    assert answer.auth is None


def test_a_login() -> None:
    auth = {"client_token": CANARY, "accessor": "a", "lease_duration": 5, "renewable": False, "policies": ["default"]}
    answer = read_reply(reply(200, {"auth": auth, "data": None}), GET)
    assert answer.auth is not None
    assert answer.auth.token.reveal() == CANARY
    assert (answer.auth.lease_seconds, answer.auth.renewable, answer.auth.policies) == (5, False, ("default",))
    assert CANARY not in repr(answer) + repr(answer.auth) + str(answer)


def test_a_token_that_was_renewed_by_its_accessor_is_not_shown_again() -> None:
    auth = {"client_token": "", "accessor": "a", "lease_duration": 5, "renewable": True, "policies": ["default"]}
    answer = read_reply(reply(200, {"auth": auth}), GET)
    assert answer.auth is not None
    assert (answer.auth.accessor, answer.auth.lease_seconds) == ("a", 5)


def test_values_are_not_shown() -> None:
    answer = read_reply(reply(200, {"data": {"password": CANARY}}), GET)
    assert CANARY not in repr(answer)
    assert CANARY not in repr(reply(200, {"data": CANARY}))


def test_nothing_is_an_answer_too() -> None:
    assert dict(read_reply(Reply(204, b""), GET).data) == {}
    assert dict(read_reply(reply(200, {"sealed": False}), GET).data) == {"sealed": False}, "as of sys/health"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>", b"[]", b"1", b"null", b'{"data": 1}', b'{"data": {}, "data": {}}', b'{"data": NaN}', b"\xff", b"[" * 100_000,
        b'{"lease_duration": -1}', b'{"lease_duration": true}', b'{"lease_duration": "1"}', b'{"lease_duration": 1e400}',
        b'{"renewable": 1}', b'{"auth": []}', b'{"auth": {}}', b'{"auth": {"client_token": 1}}', b'{"lease_id": 7}',
        b'{"auth": {"client_token": "x", "policies": [1]}}',
    ],
)  # fmt: skip
def test_what_is_not_vaults(body: bytes) -> None:
    with pytest.raises(VaultUnavailable):
        read_reply(Reply(200, body), GET)


@given(st.binary(max_size=200), st.integers(100, 599))
def test_whatever_comes_is_an_answer_or_an_error_of_ours(body: bytes, status: int) -> None:
    try:
        read_reply(Reply(status, body), GET)
    except VaultError as error:
        assert error.status == status


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["data", "auth", "lease_id", "lease_duration", "renewable", "errors", "client_token", "policies"]
)


@given(st.dictionaries(FIELDS, JSON | st.dictionaries(FIELDS, JSON, max_size=4), max_size=6), st.integers(200, 599))
def test_whatever_json_comes(body: dict[str, object], status: int) -> None:
    try:
        read_reply(reply(status, body), GET)
    except VaultError as error:
        assert error.status == status


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, VaultRefused), (403, VaultDenied), (404, VaultNotFound), (405, VaultRefused), (412, VaultUnavailable)]
    + [(status, VaultUnavailable) for status in (301, 307, 429, 472, 473, 500, 501, 502, 503, 504, 599)],
)
def test_statuses(status: int, kind: type[VaultError]) -> None:
    assert type(refused(status)) is kind


def test_whether_it_may_be_sent_again() -> None:
    def replay(status: int) -> Replay:
        error = refused(status)
        assert isinstance(error, VaultUnavailable)
        return error.replay

    assert {replay(status) for status in (412, 429, 472, 473, 501, 503)} == {Replay.ALWAYS}
    assert {replay(status) for status in (500, 502, 504)} == {Replay.IF_IDEMPOTENT}
    assert replay(307) is Replay.NEVER


def test_an_engine_that_is_being_upgraded_comes_back() -> None:
    told = "Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period"
    error = refused(400, {"errors": [told]})
    assert isinstance(error, VaultUnavailable)
    assert error.replay is Replay.ALWAYS


def test_when_to_come_back() -> None:
    error = refused(429, after=3.0)
    assert isinstance(error, VaultUnavailable)
    assert error.retry_after == 3.0
    assert [retry_after(text) for text in ("5", "99999999999", "-1", "1.5", "Wed, 21 Oct", "", None, "٣")] == [
        5.0, MAX_RETRY_AFTER, None, None, None, None, None, None
    ]  # fmt: skip


def test_the_versions_that_kv_has_deleted_are_told() -> None:
    error = refused(404, {"data": {"data": None, "metadata": {"destroyed": True}}})
    assert isinstance(error, VaultNotFound)
    assert error.answer is not None
    assert error.answer.data["metadata"]["destroyed"]
    bare = refused(404, {"errors": []})
    assert isinstance(bare, VaultNotFound)
    assert bare.answer is None


def test_vaults_own_words_without_what_was_sent() -> None:
    call = make_call(
        "POST", "auth/x/login", {"role": "web-role", "jwt": Masked(CANARY), "more": {"a": ["inner-secret"]}}
    )
    said = f"role web-role: bad {CANARY} inner-secret hvs.{'A' * 24} s.{'b' * 24}\n\x1b[31mred"
    text = str(refused(400, {"errors": [said, "second"]}, call))
    assert "web-role" in text
    for hidden in (CANARY, "inner-secret", "hvs.", "bbbb", "\n", "\x1b", "second"):
        assert hidden not in text
    assert len(str(refused(400, {"errors": ["x" * 100_000]}))) < 500

"""The webhook: nobody calls it who cannot prove who he is, and nobody twice with one proof."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from ca.masked import Masked
from sds.server.secrets.hook import WINDOW, HookKeys, HookRefused, SecretHook, parse_names, sign
from tests.fakes.clock import FakeClock

KEY, TOKEN = Masked(b"k" * 32), Masked(b"t" * 32)
BODY = b'{"names": ["db-password"]}'


class Observer:
    def secret_hook(self, outcome: str) -> None: ...


async def refresh(names: Sequence[str]) -> None: ...


def make(clock: FakeClock, keys: HookKeys | None = None) -> SecretHook:
    return SecretHook(keys or HookKeys(KEY, TOKEN), refresh, clock, Observer())


def at(clock: FakeClock, seconds: int = 0) -> str:
    return str(int((clock.now() - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) + seconds)


def refused(hook: SecretHook, body: bytes = BODY, authorization: str = "", time: str = "", signature: str = "") -> int:
    with pytest.raises(HookRefused) as error:
        hook.accept(body, authorization, time, signature)
    return error.value.status


def test_a_signed_call_is_taken_once() -> None:
    clock = FakeClock()
    hook, time = make(clock), at(clock)
    signature = sign(KEY, time, BODY)
    assert hook.accept(BODY, "", time, signature) == ["db-password"]
    assert refused(hook, time=time, signature=signature) == 409


@pytest.mark.parametrize("late", [-WINDOW - 1, WINDOW + 1, 10**9])
def test_a_call_of_another_time_is_refused(late: int) -> None:
    clock = FakeClock()
    time = at(clock, late)
    assert refused(make(clock), time=time, signature=sign(KEY, time, BODY)) == 401


def test_what_was_taken_cannot_be_repeated_while_its_time_is_good() -> None:
    clock = FakeClock()
    hook, time = make(clock), at(clock, WINDOW)
    signature = sign(KEY, time, BODY)
    hook.accept(BODY, "", time, signature)
    clock.advance(2 * WINDOW)
    assert refused(hook, time=time, signature=signature) == 409
    clock.advance(1)
    assert refused(hook, time=time, signature=signature) == 401


def test_another_body_time_or_key_is_refused() -> None:
    clock = FakeClock()
    hook, time = make(clock), at(clock)
    good = sign(KEY, time, BODY)
    assert refused(hook, b'{"names": ["other"]}', time=time, signature=good) == 401
    assert refused(hook, time=at(clock, 1), signature=good) == 401
    assert refused(hook, time=time, signature=sign(TOKEN, time, BODY)) == 401
    assert refused(hook, time=time, signature="") == 401
    assert refused(hook, time="", signature=sign(KEY, "", BODY)) == 401
    assert refused(hook, time="\u0661", signature=sign(KEY, "\u0661", BODY)) == 401


def test_a_bearer_token_is_enough_and_no_other_is() -> None:
    hook = make(FakeClock())
    assert hook.accept(BODY, "Bearer " + "t" * 32, "", "") == ["db-password"]
    for wrong in ("Bearer ", "Bearer " + "t" * 31, "Basic " + "t" * 32, "t" * 32, "Bearer é"):
        assert refused(hook, authorization=wrong) == 401


def test_without_keys_nobody_is_known() -> None:
    hook = make(FakeClock(), HookKeys())
    assert refused(hook, authorization="Bearer ") == 401
    assert refused(hook, time="1", signature="sha256=") == 401


def test_calls_are_bounded() -> None:
    hook = make(FakeClock())
    for _ in range(100):
        hook.accept(BODY, "Bearer " + "t" * 32, "", "")
    assert refused(hook, authorization="Bearer " + "t" * 32) == 429


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"names": []}',
        b'{"names": [1]}',
        b'{"names": [""]}',
        b'{"names": "s"}',
        b"\xff",
        b"[" * 10000,
    ],
)
def test_what_names_no_secrets_is_refused(body: bytes) -> None:
    with pytest.raises(HookRefused) as error:
        parse_names(body)
    assert error.value.status == 400


def test_nothing_shows_the_keys() -> None:
    assert "kkkk" not in repr(HookKeys(KEY, TOKEN))
    assert "tttt" not in repr(HookKeys(KEY, TOKEN))

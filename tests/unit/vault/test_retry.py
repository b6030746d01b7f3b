from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sds.backoff import Backoff
from sds.vault.errors import Replay, VaultUnavailable
from sds.vault.retry import RetryRules

RULES = RetryRules(3, Backoff(timedelta(seconds=1), timedelta(seconds=4)), longest=5.0)


def failure(replay: Replay, retry_after: float | None = None) -> VaultUnavailable:
    return VaultUnavailable("down", replay=replay, retry_after=retry_after)


@pytest.mark.parametrize(
    ("replay", "idempotent", "again"),
    [
        (Replay.ALWAYS, True, True),
        (Replay.ALWAYS, False, True),
        (Replay.IF_IDEMPOTENT, True, True),
        (Replay.IF_IDEMPOTENT, False, False),
        (Replay.NEVER, True, False),
    ],
)
def test_only_what_is_harmless_is_sent_again(replay: Replay, idempotent: bool, again: bool) -> None:
    assert (RULES.pause(failure(replay), 1, idempotent, 0.0) is not None) == again


def test_pauses_grow_and_end() -> None:
    pauses = [RULES.pause(failure(Replay.ALWAYS), n, True, 0.0) for n in (1, 2, 3, 4)]
    assert pauses == [0.5, 1.0, 2.0, None]


def test_who_is_told_when_to_come_back_comes_then() -> None:
    assert RULES.pause(failure(Replay.ALWAYS, 3.0), 1, True, 0.0) == 3.0
    assert RULES.pause(failure(Replay.ALWAYS, 60.0), 1, True, 0.0) is None, "that is for the caller to decide"


@given(
    st.sampled_from(Replay),
    st.none() | st.floats(0, 100),
    st.integers(1, 10),
    st.booleans(),
    st.floats(0, 1, exclude_max=True),
)
def test_nobody_waits_longer_than_allowed_or_comes_back_too_early(
    replay: Replay, retry_after: float | None, failures: int, idempotent: bool, jitter: float
) -> None:
    pause = RULES.pause(failure(replay, retry_after), failures, idempotent, jitter)
    if pause is not None:
        assert (retry_after or 0.0) <= pause <= RULES.longest
        assert failures <= RULES.retries

"""When tokens are renewed and replaced."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ca.masked import Masked
from sds.vault.answers import VaultAuth
from sds.vault.lifetime import Due, HeldToken

JITTER = st.floats(0, 1, exclude_max=True)


def auth(seconds: int, renewable: bool = True) -> VaultAuth:
    return VaultAuth(Masked("t"), "accessor", seconds, renewable)


def test_renewed_at_two_thirds() -> None:
    held = HeldToken.of(auth(90), 100.0, 0.0)
    assert held.due(159.0) is Due.NOTHING
    assert held.due(160.0) is Due.RENEWAL
    assert held.left(160.0) == 30.0
    assert held.due(190.0) is Due.LOGIN, "it has ended"


def test_what_cannot_be_renewed_is_replaced_in_time() -> None:
    assert HeldToken.of(auth(90, renewable=False), 0.0, 0.0).due(60.0) is Due.LOGIN


def test_for_ever() -> None:
    held = HeldToken.of(auth(0), 0.0, 0.5)
    assert (held.due(1e12), held.left(1e12), held.ended(1e12)) == (Due.NOTHING, None, False)


def test_a_renewal_that_hardly_helps_is_the_last() -> None:
    held = HeldToken.of(auth(90), 0.0, 0.0)
    assert held.renewed(auth(90), 60.0, 0.0).due(120.0) is Due.RENEWAL
    cut = held.renewed(auth(30), 60.0, 0.0)
    assert cut.due(60.0) is Due.NOTHING
    assert cut.due(80.0) is Due.LOGIN


@given(st.integers(1, 10**7), JITTER, st.floats(0, 1e7))
def test_something_is_always_done_before_the_end(seconds: int, jitter: float, asked: float) -> None:
    held = HeldToken.of(auth(seconds), asked, jitter)
    due_at = held.due_at
    assert due_at is not None
    assert asked + seconds * 0.59 < due_at < asked + seconds * 0.67 + 1e-6
    assert held.due(due_at) is Due.RENEWAL or held.ended(due_at)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.booleans()), max_size=20), st.integers(1, 10_000), JITTER)
def test_any_row_of_renewals_ends_in_a_login_or_goes_on(
    grants: list[tuple[int, bool]], first: int, jitter: float
) -> None:
    held, now = HeldToken.of(auth(first), 0.0, jitter), 0.0
    for seconds, renewable in grants:
        due_at = held.due_at
        if due_at is None or held.due(due_at) is Due.LOGIN:
            break
        now = due_at
        held = held.renewed(auth(seconds, renewable), now, jitter)
    assert held.due_at is None or held.due_at > now

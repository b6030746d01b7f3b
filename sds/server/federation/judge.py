"""Whether a bundle that an endpoint answered with takes the place of the one that is held. Pure."""

from __future__ import annotations

from enum import StrEnum

from ca.bundle import TrustBundle


class Verdict(StrEnum):
    """`UNCHANGED`: nothing is new. `OLDER`: it was superseded before, and is not taken. The others are taken."""

    FIRST = "first"
    NEWER = "newer"
    SAME_SEQUENCE = "same_sequence"
    UNNUMBERED = "unnumbered"
    UNCHANGED = "unchanged"
    OLDER = "older"

    @property
    def taken(self) -> bool:
        return self not in {Verdict.UNCHANGED, Verdict.OLDER}


def judge(held: TrustBundle | None, answered: TrustBundle) -> Verdict:
    """By the sequence (Federation 4.2, Trust Domain and Bundle 4.1.1).

    1. Without a bundle in hand, any is the first.
    2. The same content, sequence and hint: nothing is new.
    3. No sequence, or 0, which cannot be told from none: the newest fetched counts (4.2).
    4. A lower sequence is an older bundle, from a cache or a replica that lags, or from somebody who wants a key back
       that was taken away.
    5. The same sequence with another content breaks the standard but harms nobody: the newest fetched counts.
    """
    if held is None:  # 1
        return Verdict.FIRST
    if held == answered:  # 2
        return Verdict.UNCHANGED
    if not answered.sequence:  # 3
        return Verdict.UNNUMBERED
    if answered.sequence < held.sequence:  # 4
        return Verdict.OLDER
    return Verdict.SAME_SEQUENCE if answered.sequence == held.sequence else Verdict.NEWER  # 5

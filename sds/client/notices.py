"""What people are told of: what ends, is silent, lags or is not used."""

from __future__ import annotations

from collections.abc import Iterator

from sds.client.nouns import Noun, operation
from sds.client.results import Result, Time

_PATH = "/v1/notices"


class Notice(Result):
    """`told_stage`: the stage of which its recipient knows, -1 if of none. `recipient` "": nobody is told."""

    id: str
    kind: str
    subject: str
    recipient: str
    owner: str
    text: str
    stage: int
    told_stage: int
    urgent: bool
    due_at: Time | None
    first_seen_at: Time
    sent_at: Time | None
    ended_at: Time | None
    attempts: int
    retry_at: Time | None
    problem: str


class NoticeTest(Result):
    """`sent`: whoever delivers it has taken it over; else `problem` says why not."""

    recipient: str
    sent: bool
    problem: str


class Notices(Noun):
    @operation("notice.list")
    def list(
        self,
        *,
        kind: str | None = None,
        subject: str | None = None,
        recipient: str | None = None,
        owner: str | None = None,
        over: bool | None = None,
        urgent: bool | None = None,
        failing: bool | None = None,
        limit: int | None = None,
    ) -> Iterator[Notice]:
        """Newest first. `over`: those that are over, or are not; `failing`: those that could not be sent so far."""
        asked = {
            "kind": kind,
            "subject": subject,
            "recipient": recipient,
            "owner": owner,
            "over": _word(over),
            "urgent": _word(urgent),
            "failing": _word(failing),
        }
        return self._pages(Notice, _PATH, "notices", asked, limit=limit)

    @operation("notice.test")
    def test(self, recipient: str) -> NoticeTest:
        """Send a message that tells of nothing to an e-mail address, or to `webhook`."""
        return self._post(NoticeTest, f"{_PATH}:test", {"recipient": recipient}, keyed=False, timeout=_TEST_TIMEOUT)


_TEST_TIMEOUT = 330.0
"""Seconds; the server's own bound (`notices.smtp.timeout`) is 5 minutes at most."""


def _word(choice: bool | None) -> str | None:
    return None if choice is None else str(choice).lower()

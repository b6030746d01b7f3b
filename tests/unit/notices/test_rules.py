"""What is worth a notice, and from when on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sds.notices.facts import AgentFact, AuthorityFact, EntryFact, Facts, GrantFact, SecretFact, SidecarFact, TokenFact
from sds.notices.notice import LONGEST_TEXT, Finding, Kind, line
from sds.notices.rules import Policy, findings, stage_of, stages

NOW = datetime(2026, 6, 1, tzinfo=UTC)
S, M, H, D = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
POLICY = Policy()
ENTRY = EntryFact("e1", "spiffe://example.org/web", "web-team", NOW - 9 * D, NOW - 50 * M, NOW + 10 * M, None, 2)


def found(now: datetime = NOW, policy: Policy = POLICY, **facts: object) -> list[Finding]:
    return list(findings(Facts(**{name: (value,) for name, value in facts.items()}), policy, now))


def kinds(**facts: object) -> list[Kind]:
    return [one.kind for one in found(**facts)]


class TestStages:
    def test_lead_times_that_a_healthy_one_reaches_as_well_are_passed_over(self) -> None:
        assert stages((D, H, 10 * M), H) == (10 * M,)
        assert stages((D, H, 10 * M), D) == (H, 10 * M)
        assert stages((D, H, 10 * M), 90 * D) == (D, H, 10 * M)

    def test_what_lives_for_seconds_has_one(self) -> None:
        assert stages((D, H, 10 * M), 20 * S) == (5 * S,)

    @pytest.mark.parametrize(
        ("left", "stage"), [(D + S, None), (D, 0), (H + S, 0), (H, 1), (S, 1), (0 * S, 2), (-D, 2)]
    )
    def test_a_stage_is_reached_when_no_more_than_its_time_is_left(self, left: timedelta, stage: int | None) -> None:
        assert stage_of((D, H), left) == stage

    @given(
        leads=st.lists(st.timedeltas(S, 90 * D), min_size=1, max_size=8),
        life=st.timedeltas(S, 400 * D),
        times=st.lists(st.timedeltas(-D, 400 * D), min_size=2, max_size=2),
    )
    def test_less_time_never_means_a_milder_stage(
        self, leads: list[timedelta], life: timedelta, times: list[timedelta]
    ) -> None:
        fitting = stages(leads, life)
        assert fitting
        assert all(lead <= life / 4 for lead in fitting)
        more, less = (stage_of(fitting, left) for left in sorted(times, reverse=True))
        assert (-1 if more is None else more) <= (-1 if less is None else less) <= len(fitting)


class TestEntries:
    def test_a_certificate_that_is_renewed_in_time_is_no_news(self) -> None:
        assert found(entries=replace(ENTRY, not_before=NOW - 31 * M, not_after=NOW + 29 * M)) == []

    def test_one_that_is_not_is_told_and_urgent_while_somebody_holds_it(self) -> None:
        (one,) = found(entries=ENTRY)
        assert (one.kind, one.subject, one.owner) == (Kind.CERTIFICATE, "e1", "web-team")
        assert (one.stage, one.urgent, one.due_at) == (0, True, NOW + 10 * M)
        (nobody,) = found(entries=replace(ENTRY, holders=0))
        assert not nobody.urgent
        assert found(entries=replace(ENTRY, holders=0), policy=replace(POLICY, unheld=False)) == []

    def test_after_its_end_it_is_a_stage_further(self) -> None:
        (one,) = found(NOW + 11 * M, entries=ENTRY)
        assert one.stage == 1

    def test_what_was_not_used_for_long_is_stale_and_no_longer_missed(self) -> None:
        (one,) = found(NOW + 40 * D, entries=replace(ENTRY, holders=0))
        assert one.kind is Kind.ENTRY_STALE

    def test_a_token_is_a_use_too(self) -> None:
        used = replace(ENTRY, holders=0, used_at=NOW + 39 * D)
        assert Kind.ENTRY_STALE not in [one.kind for one in found(NOW + 40 * D, entries=used)]

    def test_one_that_was_never_used(self) -> None:
        fresh = EntryFact("e2", "spiffe://example.org/x", "", NOW - 30 * D + S)
        assert found(entries=fresh) == []
        assert kinds(entries=replace(fresh, created_at=NOW - 30 * D)) == [Kind.ENTRY_UNUSED]

    def test_an_entry_that_ends_by_itself_need_not_be_renewed(self) -> None:
        assert found(entries=replace(ENTRY, ends_at=NOW + 5 * M)) == []


class TestOthers:
    def test_an_authority_in_its_last_month(self) -> None:
        one = AuthorityFact("a1", "x509", NOW - 335 * D, NOW + 30 * D)
        assert kinds(authorities=one) == [Kind.AUTHORITY]
        assert found(authorities=replace(one, not_after=NOW + 31 * D)) == []
        assert found(authorities=AuthorityFact("a1", "jwt", NOW - 20 * D, NOW + 10 * D)) == []  # of 30 days

    def test_secrets_that_end_or_are_too_old_or_in_trouble(self) -> None:
        one = SecretFact("db", "dba", NOW - 300 * D, NOW - 300 * D, NOW + 6 * D)
        (ends,) = found(secrets=one)
        assert (ends.kind, ends.stage, ends.urgent, ends.owner) == (Kind.SECRET_EXPIRY, 1, False, "dba")
        old = SecretFact("db", "", NOW - 9 * D, NOW - 9 * D, rotate_every=9 * D)
        assert kinds(secrets=old) == [Kind.SECRET_ROTATION]
        assert found(secrets=replace(old, renewed=True)) == []
        bad = SecretFact("db", "", NOW, problem="sealed", problem_since=NOW - 15 * M)
        assert kinds(secrets=bad) == [Kind.SECRET_PROBLEM]
        assert found(secrets=replace(bad, problem_since=NOW - 14 * M)) == []

    def test_a_secret_that_is_renewed_by_itself_is_missed_late(self) -> None:
        one = SecretFact("cert", "", NOW - 80 * D, NOW - 80 * D, NOW + 10 * D, renewed=True)
        assert found(secrets=one) == []
        assert [each.kind for each in found(NOW + 5 * D, secrets=one)] == [Kind.SECRET_EXPIRY]

    def test_grants(self) -> None:
        one = GrantFact("g1", "db", "spiffe://example.org/a", "dba", NOW - 31 * D)
        assert kinds(grants=one) == [Kind.GRANT_UNUSED]
        assert kinds(grants=replace(one, used_at=NOW - 30 * D)) == [Kind.GRANT_STALE]
        assert found(grants=replace(one, used_at=NOW - 29 * D)) == []

    def test_silent_agents_and_how_long(self) -> None:
        one = AgentFact("spiffe://example.org/sds/agent/a", NOW - H, NOW + D)
        assert [(each.stage, each.urgent) for each in found(agents=one)] == [(0, False)]
        assert [(each.stage, each.urgent) for each in found(NOW + D, agents=one)] == [(1, True)]
        assert found(agents=replace(one, heard_at=NOW - 59 * M)) == []

    def test_sidecars(self) -> None:
        one = SidecarFact("spiffe://example.org/a", "s1", "spiffe://example.org/web", "o", ("x",), NOW - 15 * M)
        assert kinds(sidecars=one) == [Kind.SIDECAR_BEHIND]
        assert found(sidecars=replace(one, behind_since=NOW - 14 * M)) == []
        bad = replace(one, behind=(), rejected=tuple("abcdefg"), detail="no\r\nBcc: x")
        (told,) = found(sidecars=bad)
        assert told.kind is Kind.SIDECAR_REJECTS
        assert "and 2 more" in told.text
        assert "\n" not in told.text

    def test_api_tokens_before_they_end_and_not_after(self) -> None:
        one = TokenFact("t1", "ci", NOW - 80 * D, NOW + 6 * D)
        assert kinds(tokens=one) == [Kind.TOKEN]
        assert found(NOW + 7 * D, tokens=one) == []


@given(st.text())
def test_a_text_is_one_line_of_bounded_length(text: str) -> None:
    made = line(text)
    assert len(made) <= LONGEST_TEXT
    assert len(f"{made}x".splitlines()) == 1
    assert made.isprintable() or all(c.isprintable() or c == "\u00a0" or c.isspace() for c in made)

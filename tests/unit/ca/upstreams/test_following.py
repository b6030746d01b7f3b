"""What becomes of an authority when its upstream's roots change."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ca.authority import Authority, AuthorityKind
from ca.keys import KeyType, generate
from ca.signer import LocalSigner
from ca.template import subject_key_id
from ca.upstreams.following import Published, follow
from ca.upstreams.issuing import Issuer, draft, sign
from tests.fakes.ca import TRUST_DOMAIN, make_authority, serial_source
from tests.fakes.clock import EPOCH

ABOVE, OTHER, THIRD = make_authority(), make_authority(), make_authority()
R1, R2, R3 = (one.authority.certificate for one in (ABOVE, OTHER, THIRD))


def below(upstream: str = "sds", roots: tuple[bytes, ...] = (R1,)) -> Authority:
    signer = LocalSigner.of(generate(KeyType.ECDSA_P256))
    issuer = Issuer(ABOVE.certificate, ABOVE.signer, (), roots, ABOVE.authority.validity)
    wanted = draft(
        issuer, TRUST_DOMAIN, signer.public_key, serial_source(), EPOCH, timedelta(days=10), timedelta(seconds=10)
    )
    minted = sign(issuer, wanted, EPOCH)
    template = make_authority(key=signer.private_key).authority
    assert template.id == subject_key_id(template.public_key).hex()
    return replace(
        template,
        certificate=minted.certificate,
        not_before=minted.not_before,
        not_after=minted.not_after,
        chain=minted.chain,
        roots=minted.roots,
        upstream=upstream,
    )


OURS = below()
ON_DISK = replace(OURS, upstream="disk")


def test_what_has_not_changed_changes_nothing() -> None:
    assert follow(OURS, Published("sds", (R1,), complete=True), EPOCH) == OURS
    assert follow(ON_DISK, Published("disk", (R1,)), EPOCH) == ON_DISK


@pytest.mark.parametrize("authority", [OURS, ON_DISK])
def test_a_new_root_is_taken_in(authority: Authority) -> None:
    published = Published(authority.upstream, (R1, R2), complete=authority.upstream == "sds")
    after = follow(authority, published, EPOCH)
    assert after == replace(authority, roots=(R1, R2))
    assert follow(after, published, EPOCH) == after


def test_a_root_that_nothing_of_ours_is_below_goes_when_the_upstream_says_so() -> None:
    both = replace(OURS, roots=(R1, R2))
    assert follow(both, Published("sds", (R1,), complete=True), EPOCH).roots == (R1,)
    assert follow(replace(ON_DISK, roots=(R1, R2)), Published("disk", (R1,)), EPOCH).roots == (R1,)


def test_another_servers_bundle_without_our_root_takes_us_back() -> None:
    assert follow(OURS, Published("sds", (R2,), complete=True), EPOCH) == replace(OURS, revoked=True)


def test_a_file_without_our_root_does_not() -> None:
    """Whoever edits it may be early; `sds ca revoke` is how to mean it."""
    after = follow(ON_DISK, Published("disk", (R2,)), EPOCH)
    assert (after.roots, after.revoked) == ((R2, R1), False)
    assert follow(after, Published("disk", (R3,)), EPOCH).roots == (R3, R1)
    assert follow(after, Published("disk", (R1, R2)), EPOCH).roots == (R1, R2)


def test_what_is_tainted_above_us_taints_us() -> None:
    tainted = frozenset({ABOVE.authority.id})
    after = follow(OURS, Published("sds", (R1, R2), tainted, complete=True), EPOCH)
    assert (after.tainted, after.roots) == (True, (R1, R2))
    assert not follow(OURS, Published("sds", (R1,), frozenset({OTHER.authority.id}), complete=True), EPOCH).tainted


def test_that_our_own_is_tainted_is_our_own_affair() -> None:
    assert not follow(OURS, Published("sds", (R1,), frozenset({OURS.id}), complete=True), EPOCH).tainted


@pytest.mark.parametrize(
    "authority",
    [
        ABOVE.authority,  # its own root
        replace(OURS, upstream="disk"),
        replace(OURS, revoked=True),
        replace(OURS, kind=AuthorityKind.JWT),
        replace(OURS, roots=()),
    ],
)
def test_others_stay_as_they_are(authority: Authority) -> None:
    assert follow(authority, Published("sds", (R2,), complete=True), EPOCH) is authority


def test_an_upstream_that_publishes_nothing_is_not_believed() -> None:
    assert follow(OURS, Published("sds", (), complete=True), EPOCH) is OURS


@pytest.mark.parametrize("days", [-400, -1, 9, 11, 4000])
def test_no_clock_can_revoke(days: int) -> None:
    """Before its time, after its time, after its root's time: it stays what it was."""
    after = follow(OURS, Published("sds", (R1,), complete=True), EPOCH + timedelta(days=days))
    assert not after.revoked


def test_an_expired_one_is_left_to_rotation() -> None:
    late = OURS.not_after + timedelta(seconds=1)
    assert follow(OURS, Published("sds", (R2,), complete=True), late) is OURS

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from attestation.spiffe_id import SpiffeId, TrustDomain
from sds._pb.sds.node.v1 import node_pb2
from sds.agent import convert
from sds.agent.errors import InvalidAnswer
from tests.fakes.ca import TRUST_DOMAIN, make_authority, make_bundle_of, make_svid
from tests.unit.agent.entries import AGENT

BUNDLE = make_bundle_of(make_authority())


def message(**changes: object) -> node_pb2.Entry:
    good = {
        "id": "e1",
        "revision": 3,
        "spiffe_id": "spiffe://example.org/web",
        "selectors": ["unix:uid:1000", "unix:path:/a:b"],
        "x509_svid_ttl": Duration(seconds=90),
        "dns_names": ["a.example"],
        "hint": "default",
        "expires_at": Timestamp(seconds=2_000_000_000),
        "created_at": Timestamp(seconds=1_000_000_000, nanos=5000),
        "updated_at": Timestamp(seconds=1_000_000_001),
    }
    return node_pb2.Entry(**(good | changes))


def update(*entries: node_pb2.Entry, **fields: object) -> convert.Update:
    return convert.update(node_pb2.WatchAuthorizedResponse(upserted=entries, **fields), AGENT)  # type: ignore[arg-type]


def test_an_entry_says_what_the_server_said() -> None:
    (entry,) = update(message(), revision=7, epoch="e").upserted
    assert (entry.id, entry.revision, str(entry.spiffe_id), entry.parent_id) == (
        "e1",
        3,
        "spiffe://example.org/web",
        AGENT,
    )
    assert sorted(str(selector) for selector in entry.selectors) == ["unix:path:/a:b", "unix:uid:1000"]
    assert entry.spec.x509_svid_ttl == timedelta(seconds=90)
    assert entry.spec.dns_names == ("a.example",)
    assert entry.spec.expires_at == datetime.fromtimestamp(2_000_000_000, UTC)
    assert entry.created_at == datetime.fromtimestamp(1_000_000_000, UTC) + timedelta(microseconds=5)


def test_what_is_absent_stays_absent() -> None:
    bare = node_pb2.Entry(id="e1", revision=1, spiffe_id="spiffe://example.org/web", selectors=["unix:uid:1"])
    (entry,) = update(bare).upserted
    assert entry.spec.x509_svid_ttl is None
    assert entry.spec.expires_at is None


@pytest.mark.parametrize(
    "changes",
    [
        {"spiffe_id": "spiffe://other.org/web"},
        {"spiffe_id": "nonsense"},
        {"selectors": ["no-colon"]},
        {"selectors": ["unix:\n"]},
        {"created_at": Timestamp(seconds=2**62)},
        {"expires_at": Timestamp(seconds=-(2**62))},
        {"x509_svid_ttl": Duration(seconds=2**62)},
    ],
)
def test_a_bad_entry_harms_only_itself_and_is_not_left_as_it_was(changes: dict[str, object]) -> None:
    result = update(message(id="good"), message(**{"id": "bad", **changes}), removed_entry_ids=["gone"])
    assert [entry.id for entry in result.upserted] == ["good"]
    assert result.removed == ("gone", "bad")
    assert len(result.rejected) == 1
    assert result.rejected[0].startswith("bad: ")


def test_a_bad_bundle_leaves_the_one_we_have() -> None:
    bad = node_pb2.Bundle(trust_domain="example.org", x509_authorities=[b"rubbish"])
    result = update(message(), bundle=bad)
    assert result.bundle is None
    assert len(result.upserted) == 1
    assert "bundle" in result.rejected[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"x509_authorities": []}, "without authorities"),
        ({"trust_domain": "other.org"}, "other.org"),
        ({"trust_domain": "UPPER"}, "cannot be used"),
        ({"refresh_hint": Duration(seconds=2**60)}, "cannot be used"),
        ({"sequence": 2**64 - 1}, "cannot be used"),
    ],
)
def test_bundles_that_would_lock_us_out_or_are_not_ours(changes: dict[str, object], reason: str) -> None:
    good = {"trust_domain": "example.org", "x509_authorities": BUNDLE.x509_authorities, "sequence": 4}
    with pytest.raises(InvalidAnswer, match=reason):
        convert.bundle(node_pb2.Bundle(**(good | changes)), TRUST_DOMAIN)
    assert convert.bundle(node_pb2.Bundle(**good), TRUST_DOMAIN).x509_authorities == BUNDLE.x509_authorities


def test_a_certificate_must_be_for_whom_it_was_asked() -> None:
    holder = make_svid("spiffe://example.org/web")
    web, other = SpiffeId(TRUST_DOMAIN, "/web"), SpiffeId(TrustDomain("example.org"), "/other")
    assert convert.svid(holder.svid.chain, web).spiffe_id == web
    with pytest.raises(InvalidAnswer, match=r"for spiffe://example\.org/web instead of"):
        convert.svid(holder.svid.chain, other)
    for chain in ([], [b"rubbish"], [b""], [make_authority().authority.certificate]):
        with pytest.raises(InvalidAnswer):
            convert.svid(chain)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
def test_no_time_crashes(seconds: int, nanos: int) -> None:
    for function, kind in ((convert.moment, Timestamp), (convert.span, Duration)):
        try:
            function(kind(seconds=seconds, nanos=nanos))  # type: ignore[operator]
        except ValueError:
            continue


@given(st.binary(max_size=200))
def test_no_message_crashes(raw: bytes) -> None:
    parsed = node_pb2.WatchAuthorizedResponse()
    try:
        parsed.ParseFromString(raw)
    except Exception:  # noqa: BLE001  # dial refuses what does not parse
        return
    convert.update(parsed, AGENT)

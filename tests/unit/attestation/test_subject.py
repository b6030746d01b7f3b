"""Subjects in the text form of RFC 4514: read as `cryptography` reads them, or refused."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import InvalidSubject
from attestation.subject import MAX_SUBJECT_CHARS, UPPER_BOUNDS, Attribute, format_subject, parse_subject, value_problem

values = st.text(min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        ("", []),
        ("   ", []),
        ("CN=web", [("CN", "web")]),
        ("cn = web , OU = payments", [("OU", "payments"), ("CN", "web")]),
        ("CN=web,OU=a,OU=b,O=Example,C=DE", [("C", "DE"), ("O", "Example"), ("OU", "b"), ("OU", "a"), ("CN", "web")]),
        (r"CN=a\,b\+c\"d\\e\;f\<g\>h\#i\=j", [("CN", 'a,b+c"d\\e;f<g>h#i=j')]),
        (r"CN=a\2Cb", [("CN", "a,b")]),
        (r"CN=b\C3\BCcher", [("CN", "b\u00fccher")]),
        ("CN=b\u00fccher,UID=a=b", [("UID", "a=b"), ("CN", "b\u00fccher")]),
    ],
)
def test_texts_are_read_from_their_end(text: str, attributes: list[tuple[str, str]]) -> None:
    """RFC 4514 2.1: the text starts with the last attribute of the sequence."""
    assert list(parse_subject(text)) == attributes
    assert parse_subject(format_subject(parse_subject(text))) == parse_subject(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *[(bad, "not a list") for bad in ("web", "=x", "CN", "CN=a,", ",CN=a", "CN=a,,OU=b", "2.5.4.3=a", "/CN=a")],
        *[
            (f"{bad}=a", "attribute other than")
            for bad in ("DC", "EMAIL", "DNQUALIFIER", "SERIALNUMBER", "emailAddress")
        ],
        *[(f"CN={bad}", "without a backslash") for bad in ("a+OU=b", "a;b", "<a>", '"a"', "a\0")],
        *[(f"CN={bad}", "hex") for bad in ("#0c0161", " #0c0161")],
        *[(f"CN={bad}", "escapes nothing") for bad in ("a\\", r"a\x", r"a\1", r"a\g1", "a\\\u00b2\u00b2")],
        (r"CN=\ff\fe", "not UTF-8"),
        ("CN=\ud800", "does not exist"),
        ("CN=a,CN=b", "twice"),
        ("O=a,O=b", "twice"),
        (",".join(["OU=a"] * 17), "more than 16"),
        ("OU=" + "a" * MAX_SUBJECT_CHARS, "longer than"),
        ("CN=", "has not 1 to 64"),
        ("CN=" + "a" * 65, "has not 1 to 64"),
        ("C=DEU", "has not 1 to 2"),
        *[(f"C={bad}", "country code") for bad in ("D", "de", "12")],
        *[
            (f"CN={bad}", "unprintable")
            for bad in ("a\nb", "a\u202eb", "a\u00a0b", r"\ a", r"a\ ", r"a\00", "a\u200bb")
        ],
        ("CN=u\u0308", "composed form"),
        *[
            (f"CN={bad}", "reserved for servers")
            for bad in ("server.sds.internal", "SDS.internal.", "x/CN=sds.internal")
        ],
        ("OU=\uff53\uff44\uff53.internal", "reserved for servers"),
        ("O=sds\u3002internal", "reserved for servers"),
        ("CN=xn--sds-.internal", "reserved for servers"),
        *[(f"CN={bad}", "SPIFFE ID") for bad in ("spiffe://example.org/admin", "SPIFFE:x", "\uff53piffe://a")],
    ],
)
def test_what_cannot_be_read_in_one_way_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidSubject, match=reason) as caught:
        parse_subject(text)
    assert len(str(caught.value)) < 200


@given(st.text(alphabet='CNOUcn=,+;\\"#<> ab\u00fc01', max_size=30))
def test_what_is_read_is_what_cryptography_reads(text: str) -> None:
    try:
        mine = parse_subject(text)
    except InvalidSubject:
        return
    if not mine:
        return
    theirs = x509.Name.from_rfc4514_string(format_subject(mine))
    assert [(each.rfc4514_attribute_name, each.value) for each in theirs] == list(mine)


@given(st.lists(st.tuples(st.sampled_from(sorted(UPPER_BOUNDS)), values), max_size=5))
def test_any_attributes_survive_their_text(pairs: list[tuple[str, str]]) -> None:
    attributes = tuple(Attribute(*pair) for pair in dict(pairs).items())
    if any(value_problem(*each) for each in attributes):
        return
    assert parse_subject(format_subject(attributes)) == attributes

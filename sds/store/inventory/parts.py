"""Parts of the trust domain that a listing is narrowed to, as conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import ColumnElement, and_, or_, select

from attestation.spiffe_id import SpiffeId
from sds.store.codec import to_json
from sds.store.records import Part
from sds.store.tables import entry_labels, past_entries
from sds.store.tx import Tx


def at_or_below(column: ColumnElement[str], root: SpiffeId) -> ColumnElement[bool]:
    """By whole segments, as a range that an index serves: "0" follows "/" in bytewise order."""
    top = str(root)
    return or_(column == top, and_(column >= f"{top}/", column < f"{top}0"))


def of_labelled(tx: Tx, entry_id: ColumnElement[str], labels: Mapping[str, str]) -> ColumnElement[bool]:
    """Whether the entry has all of these, or had them when it was deleted."""
    found = []
    for name, value in labels.items():
        now = select(entry_labels.c.entry_id).where(entry_labels.c.name == name, entry_labels.c.value == value)
        # Quoted as in the JSON object: inside a longer text these quotes would be escaped.
        then = select(past_entries.c.id).where(tx.contains(past_entries.c.labels, to_json({name: value})[1:-1]))
        found.append(entry_id.in_(now.union_all(then)))
    return and_(*found)


def within(
    tx: Tx, parts: Iterable[Part], spiffe_id: ColumnElement[str], entry_id: ColumnElement[str]
) -> list[ColumnElement[bool]]:
    """Conditions, and-ed, for a row of that identity and entry; none if a part is everything, or no parts are given."""
    found: list[ColumnElement[bool]] = []
    for part in parts:
        terms = []
        if part.below is not None:
            terms.append(at_or_below(spiffe_id, part.below))
        if part.labels:
            terms.append(of_labelled(tx, entry_id, part.labels))
        if not terms:
            return []
        found.append(and_(*terms))
    return [or_(*found)] if found else []

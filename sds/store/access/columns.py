"""Rights as the columns that tables of access share."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from attestation.spiffe_id import SpiffeId
from sds.store.access.records import RightRecord
from sds.store.codec import labels, to_json


def of_right(right: RightRecord) -> dict[str, str]:
    below = "" if right.below is None else str(right.below)
    return {"role": right.role, "below": below, "labels": to_json(dict(right.labels))}


def right(row: Row[Any]) -> RightRecord:
    return RightRecord(row.role, SpiffeId.parse(row.below) if row.below else None, labels(row.labels))

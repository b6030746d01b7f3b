"""/v1/audit beyond its events: proofs, checkpoints, keys, exports, verification, retention."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import ConfigDict
from starlette.requests import Request
from starlette.responses import StreamingResponse

from sds.admin.routes.common import MAX_PAGE, Body, Call, NoQuery, OptionalBody, about, documented
from sds.admin.routes.exports import CSV_TYPE, DOCUMENTED, JSONL_TYPE, one_ahead
from sds.admin.services.ledger import ExportFormat, ExportQuery, LedgerAdmin
from sds.admin.wire import ledger as wire
from sds.admin.wire.common import Input, TimeField, read
from sds.store.errors import NotFound

MAX_NUMBER = 2**62


class At(Input):
    model_config = ConfigDict(strict=False)

    size: Annotated[int | None, Query(ge=0, le=MAX_NUMBER)] = None


class Older(Input):
    model_config = ConfigDict(strict=False)

    before: Annotated[int | None, Query(ge=0, le=MAX_NUMBER)] = None
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100


class ExportFilter(Input):
    """Without filters the file can be verified by itself."""

    model_config = ConfigDict(strict=False)

    format: ExportFormat = "jsonl"
    action: Annotated[str | None, Query(max_length=64)] = None
    outcome: Annotated[str | None, Query(max_length=16)] = None
    actor: Annotated[str | None, Query(max_length=2048)] = None
    target: Annotated[str | None, Query(max_length=2048)] = None
    since: TimeField | None = None
    until: TimeField | None = None
    request_id: Annotated[str | None, Query(max_length=64)] = None

    def query(self) -> ExportQuery:
        return ExportQuery(
            self.format, self.action, self.outcome, self.actor, self.target, self.since, self.until, self.request_id
        )


class LedgerRoutes:
    def __init__(self, ledger: LedgerAdmin) -> None:
        self._ledger = ledger

    def mount(self, app: FastAPI) -> None:
        one = "/v1/audit/events/{sequence}"
        app.get("/v1/audit:export", operation_id="audit.export", openapi_extra=DOCUMENTED)(self.export)
        app.post("/v1/audit:verify", operation_id="audit.verify", openapi_extra=documented(wire.AuditVerifyIn))(
            self.verify
        )
        app.post("/v1/audit:prune", operation_id="audit.prune", openapi_extra=documented(wire.AuditPruneIn))(self.prune)
        app.get("/v1/audit/checkpoint", operation_id="audit.checkpoint")(self.checkpoint)
        app.get("/v1/audit/checkpoints", operation_id="audit.checkpoints")(self.checkpoints)
        app.get("/v1/audit/consistency", operation_id="audit.consistency")(self.consistency)
        app.get("/v1/audit/keys", operation_id="audit.keys")(self.keys)
        app.post("/v1/audit/keys:rotate", operation_id="audit.key.rotate")(self.rotate_key)
        app.get(one + "/proof", operation_id="audit.proof")(self.proof)
        app.get(one, operation_id="audit.show")(self.event)

    async def event(self, sequence: str, _query: Annotated[NoQuery, Query()]) -> wire.EventDetailOut:
        """One event, its canonical form, and the leaf that is the hash of that."""
        return wire.event_detail_out(await self._ledger.event(_number(sequence)))

    async def proof(self, sequence: str, _query: Annotated[NoQuery, Query()]) -> wire.InclusionOut:
        """The inclusion proof (RFC 9162 2.1.3) of an event under the newest checkpoint."""
        return wire.inclusion_out(await self._ledger.inclusion(_number(sequence)))

    async def checkpoint(self, query: Annotated[At, Query()]) -> wire.CheckpointOut:
        """The newest checkpoint, or that of a size."""
        return wire.checkpoint_out(await self._ledger.checkpoint(query.size))

    async def checkpoints(self, query: Annotated[Older, Query()]) -> wire.CheckpointPage:
        """Checkpoints, newest first. Of those that are older than an hour one an hour is kept."""
        found = await self._ledger.checkpoints(query.before, query.limit)
        last = found[-1].size if len(found) == query.limit else None
        return wire.CheckpointPage(checkpoints=[wire.checkpoint_out(each) for each in found], next_before=last)

    async def consistency(
        self,
        first: Annotated[int, Query(alias="from", ge=1, le=MAX_NUMBER)],
        second: Annotated[int, Query(alias="to", ge=1, le=MAX_NUMBER)],
    ) -> wire.ConsistencyOut:
        """The proof (RFC 9162 2.1.4) that the tree of `to` leaves begins with that of `from`."""
        return wire.consistency_out(await self._ledger.consistency(first, second))

    async def keys(self, _query: Annotated[NoQuery, Query()]) -> wire.AuditKeyList:
        """The keys that checkpoints are verified by, oldest first."""
        found = await self._ledger.keys()
        last = len(found) - 1
        return wire.AuditKeyList(keys=[wire.key_out(each, current=place == last) for place, each in enumerate(found)])

    async def rotate_key(self, call: Call, body: OptionalBody, _query: Annotated[NoQuery, Query()]) -> wire.AuditKeyOut:
        """Sign checkpoints with a new key, which the old one vouches for before it is destroyed."""
        read(_Nothing, body)
        return wire.key_out(await self._ledger.rotate_key(call), current=True)

    async def export(self, query: Annotated[ExportFilter, Query()]) -> StreamingResponse:
        """The log up to the newest checkpoint. JSON Lines without filters verify by themselves (sds audit verify)."""
        pieces: AsyncIterator[bytes] = await self._ledger.export(query.query())
        return StreamingResponse(
            one_ahead(pieces),
            media_type=CSV_TYPE if query.format == "csv" else JSONL_TYPE,
            headers={"Content-Disposition": f'attachment; filename="audit.{query.format}"'},
        )

    async def verify(self, call: Call, body: OptionalBody, _query: Annotated[NoQuery, Query()]) -> wire.AuditVerdictOut:
        """Recompute every hash from the events as they are stored, and hold all of it against what was signed."""
        asked = read(wire.AuditVerifyIn, body)
        return wire.verdict_out(await self._ledger.verify(call, asked.checkpoints))

    async def prune(
        self, request: Request, call: Call, body: Body, _query: Annotated[NoQuery, Query()]
    ) -> wire.AuditPruneOut:
        """Take events older than `before`; what is left still verifies. Without `dry_run: false`: only say which."""
        asked = read(wire.AuditPruneIn, body)
        about(request, asked.before.isoformat())
        return wire.prune_out(await self._ledger.prune(call, asked.before, dry_run=asked.dry_run))


class _Nothing(Input):
    """A body that may be left out and says nothing."""


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise NotFound("audit event", "this is no sequence number")
    return int(text)

"""The agent's own API on DATA_DIR/admin.sock: for operators on the node, and for probes. Works without the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from attestation.attestor import Process
from attestation.errors import AttestationRefused
from attestation.selector import Selectors
from sds.agent.status import AgentStatus
from sds.agent.workload import Workload
from sds.net.errors import PeerUnknown

_MAX_PID = 2**22  # proc_sys_kernel_pid_max(5)


class Attestation(Protocol):
    """The part of LocalCallers that is used here."""

    async def attest(self, process: Process) -> Selectors:
        """Raises AttestationRefused."""
        ...

    def workload(self, pid: int) -> Workload | None: ...


FindProcess = Callable[[int], Process]
"""A process by its PID alone, which only an operator may ask for. Raises PeerUnknown when there is none."""


def local_api(status: AgentStatus, attestation: Attestation, find: FindProcess, ops: Sequence[BaseRoute]) -> Any:
    """The ASGI application. Errors are problem documents (RFC 9457)."""

    async def get_status(_request: Request) -> Response:
        return _json(status.overview())

    async def get_streams(_request: Request) -> Response:
        return _json(status.stream_list())

    async def get_explain(request: Request) -> Response:
        text = request.query_params.get("pid", "")
        if not (text.isascii() and text.isdigit() and 0 < int(text[:10]) <= _MAX_PID):
            raise HTTPException(422, "pid must be the number of a process on this node, e.g. ?pid=1234")
        try:
            process = find(int(text))
            selectors = await attestation.attest(process)
        except (AttestationRefused, PeerUnknown) as refusal:
            raise HTTPException(404, f"process {text}: {refusal}") from None
        workload = attestation.workload(process.pid)
        if workload is not None and workload.process.start_time != process.start_time:
            workload = None
        return _json(status.explained(process, selectors, workload))

    routes = [
        Route("/v1/status", get_status, methods=["GET"]),
        Route("/v1/streams", get_streams, methods=["GET"]),
        Route("/v1/explain", get_explain, methods=["GET"]),
        *ops,
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _problem})


async def _problem(_request: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else "internal error"
    body = {"type": "about:blank", "title": _TITLES.get(code, "error"), "status": code, "detail": detail}
    return JSONResponse(body, status_code=code, media_type="application/problem+json")


_TITLES: Mapping[int, str] = {404: "not found", 405: "method not allowed", 422: "invalid request"}


def _json(body: dict[str, Any]) -> Response:
    return JSONResponse(body, headers={"cache-control": "no-store"})

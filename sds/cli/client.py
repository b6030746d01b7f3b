"""The admin API's client, over its Unix socket."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

from sds import __version__
from sds.cli.errors import CliError, ExitCode
from sds.cli.output import note
from sds.http.no_tls import NO_TLS

_TIMEOUT = 30.0
_LONGEST_SOCKET_PATH = 107  # sockaddr_un.sun_path without its closing NUL (unix(7))
_CODES = {404: ExitCode.NOT_FOUND, 409: ExitCode.CONFLICT, 412: ExitCode.CONFLICT}


Query = Mapping[str, object] | None


class AdminClient:
    """Calls of the admin API; every error is a CliError. `program` is what should be running at the socket."""

    def __init__(self, path: Path, *, verbose: bool = False, program: str = "sds server run") -> None:
        self._socket = path
        self._known_to_listen = False
        self._program = program
        self._verbose = verbose
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path), verify=NO_TLS),
            base_url="http://sds",
            timeout=_TIMEOUT,
            trust_env=False,
            headers={"User-Agent": f"sds/{__version__}"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, query: Query = None, *, timeout: float = _TIMEOUT) -> Any:
        return self._json(self._send("GET", path, query=query, timeout=timeout))

    def content(self, path: str, query: Query = None) -> bytes:
        """An answer that is not JSON, or is passed on as it is."""
        return self._send("GET", path, query=query).content

    def post(self, path: str, body: object = None, *, timeout: float = _TIMEOUT) -> Any:
        return self._json(self._send("POST", path, body=body, timeout=timeout))

    def put(self, path: str, body: object, *, revision: int | None = None) -> Any:
        headers = {} if revision is None else {"If-Match": f'"{revision}"'}
        return self._json(self._send("PUT", path, body=body, headers=headers))

    def delete(self, path: str, query: Query = None, *, revision: int | None = None) -> Any:
        headers = {} if revision is None else {"If-Match": f'"{revision}"'}
        return self._json(self._send("DELETE", path, query=query, headers=headers))

    def pages(self, path: str, items: str, query: Query = None, *, limit: int | None = None) -> Iterator[Any]:
        """Every item of a listing (at most `limit`), page after page."""
        left = limit
        asked = dict(query or {})
        while left is None or left > 0:
            size = 500 if left is None else min(left, 500)
            page = self.get(path, {**asked, "limit": size})
            found = page.get(items) if isinstance(page, dict) else None
            if not isinstance(found, list):
                raise self._strange()
            yield from found
            if left is not None:
                left -= len(found)
            asked["cursor"] = page.get("next_cursor")
            if not asked["cursor"]:
                return

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Query = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = _TIMEOUT,
    ) -> httpx.Response:
        given: Any = {key: value for key, value in (query or {}).items() if value not in (None, "", [], ())}
        self._knock()
        started = time.perf_counter()
        try:
            answer = self._http.request(
                method, path, params=given, json=body, headers=dict(headers or {}), timeout=timeout
            )
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        except UnicodeEncodeError:  # bytes on the command line that are no text
            raise CliError(ExitCode.USAGE, "an argument is not UTF-8 text") from None
        if self._verbose:
            took = (time.perf_counter() - started) * 1000
            request_id = answer.headers.get("x-request-id", "-")
            note(
                f"{method} {answer.request.url.raw_path.decode()}: {answer.status_code} in {took:.1f} ms ({request_id})"
            )
        if answer.status_code >= 500 and answer.headers.get("content-type", "").startswith("text/plain"):
            # The HTTP server's own words, not the API's: it is being stopped while it answers.
            raise CliError(
                ExitCode.UNREACHABLE,
                f"{self._socket} broke off while it answered ({answer.status_code})",
                advice=f"Is `{self._program}` being stopped? Its log says more.",
            )
        if answer.status_code >= 400:
            raise self._refused(answer)
        return answer

    def _json(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except (ValueError, RecursionError):
            raise self._strange() from None

    def _strange(self) -> CliError:
        return CliError(
            ExitCode.FAILED,
            f"what answers at {self._socket} is not the admin API",
            advice=f"Check that it is the socket of `{self._program}`.",
        )

    def _refused(self, answer: httpx.Response) -> CliError:
        """The server's problem document (RFC 9457) as an error."""
        try:
            problem = answer.json()
        except (ValueError, RecursionError):
            return self._strange()
        if not isinstance(problem, dict) or not isinstance(problem.get("detail"), str):
            return self._strange()
        if answer.status_code == 404 and _no_such_path(problem):
            return CliError(
                ExitCode.FAILED,
                f"what answers at {self._socket} does not know this call",
                advice=f"Is it the admin socket of `{self._program}`, and of this version?",
            )
        fields = problem.get("problems")
        problems = [
            f"{each.get('field')}: {each.get('problem')}"
            for each in (fields if isinstance(fields, list) else [])
            if isinstance(each, dict)
        ]
        kind = str(problem.get("type", "")).removeprefix("urn:sds:problem:")
        code = _KINDS.get(kind) or _CODES.get(answer.status_code, ExitCode.FAILED)
        advice = _ADVICE.get(kind, "").format(show=_SHOW.get(answer.request.url.path.split("/")[2], _SHOW["entries"]))
        return CliError(code, problem["detail"], problems=problems, problem=problem, advice=advice)

    def _knock(self) -> None:
        """Connect once ourselves: httpx hides why it could not, and leaves the failed socket open."""
        if self._known_to_listen:
            return
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_TIMEOUT)
                probe.connect(str(self._socket))
        except OSError as error:
            raise self._unreachable(error) from None
        self._known_to_listen = True

    def _unreachable(self, error: Exception) -> CliError:
        run = f"Is `{self._program}` running, and is this its admin socket? (--admin-socket)"
        if len(str(self._socket).encode()) > _LONGEST_SOCKET_PATH:
            why, run = "its path is too long for a Unix socket", "Use a relative path, or a shorter data folder."
        elif isinstance(error, httpx.TimeoutException | TimeoutError):
            why, run = "it did not answer in time", "Is it overloaded? Its log says more."
        elif isinstance(error, OSError):
            why = _REASONS.get(error.errno or 0, "connecting failed")
            if error.errno in (errno.EACCES, errno.EPERM):
                run = "Run this command as root or as the user that the process runs as."
        else:
            why, run = "it broke off before it answered", "Its log says more; what was asked may be done or not."
        return CliError(ExitCode.UNREACHABLE, f"cannot reach {self._socket}: {why}", advice=run)


_KINDS = {"gate-closed": ExitCode.GATE_CLOSED}
_ADVICE = {
    "conflict": "Look at what stands now (`{show}`) and repeat.",
    "already-exists": "Look at what stands now (`{show}`) and repeat.",
    "rotation-refused": "`sds ca show` says what stands now.",
}

_SHOW = {"entries": "sds entry show ID", "secrets": "sds secret show NAME", "grants": "sds grant list"}
"""How to look at what the call was about."""

_REASONS = {
    errno.ENOENT: "there is no such socket",
    errno.ENOTDIR: "there is no such socket",
    errno.ECONNREFUSED: "nothing listens there",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOTSOCK: "it is not a socket",
}


def _no_such_path(problem: Mapping[str, Any]) -> bool:
    """Whether it is the path that is unknown (to the server, or to the agent's own API) and not what it names."""
    return problem.get("type") == "urn:sds:problem:no-such-path" or problem["detail"] == "Not Found"


def part(text: str) -> str:
    """`text` as one part of a path, slashes and all."""
    return quote(text, safe="", errors="surrogateescape")

"""A sidecar of another user, as a process of its own.

python -m tests.e2e.harness.other_user UID SOCKET NAME...   FetchSecrets of each name, as JSON

It becomes the user once all is imported, so that the user need not be able to read this source or its interpreter.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import grpc.aio

from tests.e2e.harness.sds_client import fetch, svid_of
from tests.e2e.harness.tls import uri_of


async def outcome(socket: Path, name: str) -> dict[str, str]:
    """Whose certificate came, or the status and its details."""
    try:
        secret = await fetch(socket, name)
    except grpc.aio.AioRpcError as error:
        return {"refused": error.code().name, "details": error.details() or ""}
    return {"id": uri_of(svid_of(secret).chain[0])}


async def main(socket: Path, names: list[str]) -> None:
    print(json.dumps({name: await outcome(socket, name) for name in names}))


if __name__ == "__main__":
    user = int(sys.argv[1])
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    asyncio.run(main(Path(sys.argv[2]), sys.argv[3:]))

"""The command line as a user types it: `sds ...` in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sds.demo.stack import PROGRAM


@dataclass(frozen=True, slots=True)
class Ran:
    args: tuple[str, ...]
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    def ok(self) -> Ran:
        assert self.status == 0, f"sds {' '.join(self.args)}: status {self.status}\n{self.out}\n{self.err}"
        return self


async def sds(*args: str, env: Mapping[str, str] | None = None, within: float = 60.0) -> Ran:
    """Run `sds ARGS` to its end."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | dict(env or {}),
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), within)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ran(args, process.returncode, out.decode(), err.decode())

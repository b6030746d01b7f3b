"""Looks at a running scene: what each sidecar holds and its peer saw, how fast a push is ACKed, who was restarted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from sds.demo.envoy import Envoy
from sds.demo.errors import DemoError
from sds.demo.report import Report
from sds.demo.scene import BACK, FRONT, Scene
from sds.demo.traffic import Tally, normal_serial


@dataclass(frozen=True, slots=True)
class SidecarView:
    """One sidecar as it is now. `serials` are those that its TLS peer was shown, oldest first; `requests` used them."""

    name: str
    spiffe_id: str
    pid: int
    serial: str
    not_after: datetime | None
    serials: tuple[str, ...]
    acks: int
    requests: int

    @property
    def rotations(self) -> int:
        return max(len(self.serials) - 1, 0)


class Observer:
    """Keeps what was seen of a scene; `look` refreshes it."""

    def __init__(self, scene: Scene, tally: Tally) -> None:
        self._scene = scene
        self._tally = tally
        self._pids = {name: envoy.child.pid for name, envoy in scene.envoys.items()}
        self._restarted: set[str] = set()
        self._push_to_ack: dict[tuple[str, str, str], float] = {}
        self._handshakes = 0
        self.sidecars: tuple[SidecarView, ...] = ()

    async def look(self) -> None:
        """Ask everybody once; what cannot be asked now keeps its last state. Raises DemoError if a process ended."""
        self.sidecars = tuple([await self._sidecar(name, envoy) for name, envoy in self._scene.envoys.items()])
        self._handshakes = await _stat(self._scene.back, "listener.back.ssl.handshake", self._handshakes)
        for stream in await self._scene.stack.streams():
            for resource in stream["resources"]:
                self._note_ack(stream["id"], resource)
        for child in (self._scene.stack.server, self._scene.stack.agent):
            if child is not None:
                child.check()

    def report(self) -> Report:
        return Report(
            rotations=min((s.rotations for s in self.sidecars), default=0),
            requests=self._tally.requests,
            failed=self._tally.failed,
            handshakes=self._handshakes,
            distinct_serials=self._tally.distinct_serials,
            push_to_ack_ms=tuple(self._push_to_ack.values()),
            envoy_restarts=len(self._restarted),
        )

    async def _sidecar(self, name: str, envoy: Envoy) -> SidecarView:
        await self._note_restart(name, envoy)
        seen = {FRONT: self._tally.client_serials, BACK: self._tally.server_serials}[name]
        before = next((s for s in self.sidecars if s.name == name), None)
        serial, not_after = await _held(envoy) or (("", None) if before is None else (before.serial, before.not_after))
        acks = await _stat(envoy, "sds[.].*[.]update_success", before.acks if before else 0)
        return SidecarView(
            name=name,
            spiffe_id=self._scene.stack.id(name),
            pid=self._pids[name],
            serial=serial,
            not_after=not_after,
            serials=tuple(seen),
            acks=acks,
            requests=sum(seen.values()),
        )

    async def _note_restart(self, name: str, envoy: Envoy) -> None:
        if not envoy.child.running or envoy.child.pid != self._pids[name]:
            self._restarted.add(name)
            raise DemoError(f"{name} ended with status {envoy.child.returncode}; its log ends:\n{envoy.child.tail()}")
        try:
            if await envoy.admin.restart_epoch() != 0:
                self._restarted.add(name)
        except httpx.HTTPError:
            pass  # busy; the next look asks again

    def _note_ack(self, stream: str, resource: dict[str, Any]) -> None:
        version = resource["acked_version"]
        sent, acked = resource["sent_at"], resource["acked_at"]
        if not version or version != resource["sent_version"] or not sent or not acked:
            return
        milliseconds = (datetime.fromisoformat(acked) - datetime.fromisoformat(sent)).total_seconds() * 1000
        self._push_to_ack.setdefault((stream, resource["name"], version), milliseconds)


async def _stat(envoy: Envoy, pattern: str, otherwise: int) -> int:
    """The sum of the counters that match, or `otherwise` if Envoy does not answer now."""
    try:
        return sum((await envoy.admin.stats(pattern)).values())
    except httpx.HTTPError:
        return otherwise


async def _held(envoy: Envoy) -> tuple[str, datetime] | None:
    """Serial and expiry of the leaf that Envoy holds now; None if it does not answer or has none."""
    try:
        certificates = (await envoy.admin.json("/certs"))["certificates"]
    except httpx.HTTPError:
        return None
    leaves = [leaf for held in certificates for leaf in held.get("cert_chain", ())]
    if not leaves:
        return None
    newest = max(leaves, key=lambda leaf: str(leaf["expiration_time"]))
    return normal_serial(newest["serial_number"]), datetime.fromisoformat(newest["expiration_time"])

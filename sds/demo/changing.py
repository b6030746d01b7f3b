"""Changes the secret in Vault again and again, and watches the answers for who uses which value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sds.clock import Clock
from sds.demo.changes import Change, Changes, SecretView
from sds.demo.envoy_config import BACK_CREDENTIAL_HEADER, FRONT_CREDENTIAL_HEADER
from sds.demo.errors import DemoError
from sds.demo.report import SecretReport
from sds.demo.scene import BACK, FRONT
from sds.demo.vault import MOUNT, PATH, Vault

_HEADERS = {FRONT: FRONT_CREDENTIAL_HEADER, BACK: BACK_CREDENTIAL_HEADER}
_SELDOM = timedelta(seconds=5)  # with long-lived certificates, too, there is something to see
_STALLED_AFTER = 60.0  # seconds in which not all sidecars used a new value


class Changing:
    """`step` changes it when it is time; `check` is for the traffic."""

    def __init__(self, vault: Vault, lifetime: timedelta, clock: Clock) -> None:
        self._vault = vault
        self._clock = clock
        self._every = min(lifetime / 3, _SELDOM).total_seconds()
        self._changes = Changes(tuple(_HEADERS))
        self._told = 0

    @property
    def done(self) -> int:
        """Changes whose value both sidecars have used."""
        return len(self._changes.done)

    def check(self, headers: Mapping[str, str]) -> str:
        """Take down which values an answer shows; what is wrong with it, or ""."""
        for name, header in _HEADERS.items():
            value = headers.get(header, "")
            if value in {"", "-"}:
                return f"{name} added no secret to a request"
            self._changes.saw(name, value, self._clock.monotonic())
        return ""

    async def step(self) -> None:
        """Change it if it is time. Raises DemoError if Vault refuses, or a change does not arrive."""
        now, last = self._clock.monotonic(), self._changes.last
        if self._changes.due(now, self._every):
            await self._vault.write(self._changes.begin(now).value)
        elif last and (missing := self._changes.missing(last)) and now - last.at > _STALLED_AFTER:
            raise DemoError(f"{last.value} is in Vault for {now - last.at:.0f} s, and not used by {', '.join(missing)}")

    def news(self) -> list[Change]:
        """The changes that all sidecars have used since it was asked last."""
        new = list(self._changes.done[self._told :])
        self._told += len(new)
        return new

    def report(self) -> SecretReport:
        done = self._changes.done
        return SecretReport(len(done), {name: tuple(c.used[name] * 1000 for c in done) for name in _HEADERS})

    def view(self) -> SecretView:
        return SecretView(f"{MOUNT}/{PATH}", dict(self._changes.in_use), self.done, self._changes.last)


def told(change: Change) -> str:
    """One line on a change that has arrived."""
    used = ", ".join(f"{name} after {seconds:.2f} s" for name, seconds in change.used.items())
    return f"change {change.number} in Vault: {change.value} used by {used}"

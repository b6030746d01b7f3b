"""How many requests a second Vault is asked: a token bucket in which places are reserved in order. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Budget:
    """`burst` requests at once, then `rate` a second. `level` may be negative: so many have reserved a place."""

    rate: float
    burst: float
    level: float
    at: float

    @classmethod
    def full(cls, rate: float, burst: float, now: float) -> Budget:
        return cls(rate, burst, burst, now)

    def take(self, now: float, longest: float | None = None) -> tuple[Budget, float | None]:
        """Reserve one place: the budget after it, and in how many seconds the request may be sent.

        None, and nothing reserved, if that would be more than `longest` seconds.
        """
        level = min(self.burst, self.level + max(0.0, now - self.at) * self.rate) - 1
        wait = max(0.0, -level / self.rate)
        if longest is not None and wait > longest:
            return self, None
        return replace(self, level=level, at=max(now, self.at)), wait

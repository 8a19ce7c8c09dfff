"""Token buckets: how many lines may be read now, and when the next one may. Pure arithmetic over timestamps.

Pacing never drops anything: what is not granted stays unread in the kernel, and the sender's own `send` waits.
"""

from __future__ import annotations


class TokenBucket:
    """`rate` lines a second in the long run, `burst` at once. Times are monotonic seconds."""

    __slots__ = ("burst", "rate", "tokens", "updated")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = max(burst, 1.0)
        self.tokens = self.burst
        self.updated = now

    def available(self, now: float) -> int:
        """How many whole lines may be read now."""
        if now > self.updated:
            self.tokens = min(self.burst, self.tokens + (now - self.updated) * self.rate)
            self.updated = now
        return int(self.tokens)

    def take_all(self, lines: int, now: float) -> bool:
        """Spend so many if they may all be read now; otherwise none."""
        if self.available(now) < lines:
            return False
        self.tokens -= lines
        return True

    def spend(self, lines: int) -> None:
        """These lines were read; at most as many as `available` said."""
        self.tokens -= lines

    def wait_seconds(self) -> float:
        """How long after the last `available` until one line may be read; 0 if one may already."""
        return max(0.0, (1.0 - self.tokens) / self.rate)

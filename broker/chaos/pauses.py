"""The pauses that clients notice, and which kill each is owed to. Pure.

A client notices a pause when a line that was due at one moment of the load's schedule is heard at a later one. Measured
from when it was due, not from when it was sent: a load that is held up must not hide that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from broker.chaos.ledger import percentile

IN_FLIGHT_SECONDS: Final = 0.05
"""A line that was due so shortly before a kill was on its way when it came."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: when (monotonic seconds), whom, and how; those of one instant share their `at`."""

    at: float
    role: str
    name: str
    signal: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Of the pauses after some kills, in seconds; `kills` is how many there were, also those nobody noticed."""

    kills: int
    median: float
    p99: float
    worst: float


def blamed(moments: Sequence[float], due: float, heard: float) -> int | None:
    """Which of the kills, at these sorted moments, a line that was due and heard then was late for; None if for none.

    The one that came while it was on its way; else the last one before it was due.
    """
    following = bisect_right(moments, due)
    if following < len(moments) and moments[following] <= min(heard, due + IN_FLIGHT_SECONDS):
        return following
    return following - 1 if following else None


@dataclass(slots=True)
class Pauses:
    """Every kill so far with the longest pause that any client owed to it."""

    kills: list[Kill] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    _moments: list[float] = field(default_factory=list)

    def killed(self, kill: Kill) -> None:
        """One more; `at` never goes back."""
        self.kills.append(kill)
        self.seconds.append(0.0)
        self._moments.append(kill.at)

    def late(self, due: float, heard: float) -> None:
        """A line was heard late. All kills of the same instant share the blame."""
        index = blamed(self._moments, due, heard)
        if index is None:
            return
        at = self._moments[index]
        # Stepping to both sides: `blamed` may have found any one of an instant.
        while index and self._moments[index - 1] == at:
            index -= 1
        while index < len(self._moments) and self._moments[index] == at:
            self.seconds[index] = max(self.seconds[index], heard - due)
            index += 1

    def summary(self, role: str | None = None, signal: str | None = None) -> Summary | None:
        """Of the kills of that role and signal (None: of any); None if there were none."""
        seconds = [
            pause
            for kill, pause in zip(self.kills, self.seconds, strict=True)
            if role in (None, kill.role) and signal in (None, kill.signal)
        ]
        if not seconds:
            return None
        return Summary(len(seconds), percentile(seconds, 0.5), percentile(seconds, 0.99), max(seconds))

    def kinds(self) -> list[tuple[str, str]]:
        """The roles and signals that occurred, in order of their names."""
        return sorted({(kill.role, kill.signal) for kill in self.kills})

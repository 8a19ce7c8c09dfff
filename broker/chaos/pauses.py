"""The pauses that clients notice, and which kill each is owed to. Pure.

A client notices a pause when it hears nothing although something was due to it, by the load's schedule. Measured from
when that was due, not from when it was sent: a load that is held up must not hide that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from broker.chaos.ledger import percentile

IN_FLIGHT_SECONDS: Final = 0.05
"""A line that was due so shortly before a kill was on its way when it came."""


SEVERAL: Final = "several"


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
        """Somebody heard nothing in this time. All kills of the same instant share the blame."""
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
        """Of the kills of that role and signal, and of no other process in the same instant (None: of all kills); of
        those of several at once with the role SEVERAL. None if there were none.
        """
        at_once = Counter(self._moments)
        seconds = [
            pause
            for kill, pause in zip(self.kills, self.seconds, strict=True)
            if role is None or (role, signal) == self._kind(kill, at_once)
        ]
        if not seconds:
            return None
        return Summary(len(seconds), percentile(seconds, 0.5), percentile(seconds, 0.99), max(seconds))

    def kinds(self) -> list[tuple[str, str]]:
        """The roles and signals that occurred, as `summary` takes them, in order of their names, SEVERAL last."""
        at_once = Counter(self._moments)
        kinds = {self._kind(kill, at_once) for kill in self.kills}
        return sorted(kinds, key=lambda kind: (kind[0] == SEVERAL, kind))

    def counts(self) -> list[tuple[str, str, int]]:
        """Role, signal, and how many kills of that kind there were in all, in order of their names."""
        kinds = Counter((kill.role, kill.signal) for kill in self.kills)
        return [(role, signal, count) for (role, signal), count in sorted(kinds.items())]

    def _kind(self, kill: Kill, at_once: Counter[float]) -> tuple[str, str]:
        return (SEVERAL, "at once") if at_once[kill.at] > 1 else (kill.role, kill.signal)

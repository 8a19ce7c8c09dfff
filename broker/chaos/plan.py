"""What is killed when: a plan made of a seed, and how much killing a broker stands before it gives up. Pure.

The plan draws moments and lots; which process a lot falls on is decided when it is carried out, by those there are.
So a seed gives the same moments, signals, roles and numbers of victims each time.

Each strike has a slot as long as its victims take at the wanted rate, and comes at a random moment of it: so there are
never more kills than the rate allows, and any distance between two strikes can occur.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

Signal = Literal["SIGKILL", "SIGSTOP"]

PAIR_SHARE: Final = 0.5
"""With pairs, so many of the strikes have two or more victims,"""
TRIPLE_SHARE: Final = 0.3
"""and so many of those three."""
SUCCESSION_SHARE: Final = 0.3
"""Instead of at once, so many of the pairs are killed one soon after the other, and of one role:"""
SUCCESSION_SECONDS: Final = 0.1
"""the second may be the first one's replacement, amid its recovery."""
_MARGIN: Final = 1
"""Deaths within the restart period that are left for others than us."""


@dataclass(frozen=True, slots=True)
class Victim:
    """One lot: a role, and from 0 to 1 which of its processes."""

    role: str
    lot: float
    signal: Signal


@dataclass(frozen=True, slots=True)
class Strike:
    """What is done in one instant, so many seconds after the beginning."""

    at_seconds: float
    victims: tuple[Victim, ...]


def strikes(
    seed: int, rate: float, roles: Sequence[str], pairs: bool = False, stop_fraction: float = 0.0
) -> Iterator[Strike]:
    """The endless plan: `rate` kills per second in all (0: none at all), of processes of these roles."""
    if rate <= 0 or not roles:
        return
    lots = random.Random(seed)
    beginning = 0.0
    while True:
        count = 1
        if pairs and lots.random() < PAIR_SHARE:
            count = 3 if lots.random() < TRIPLE_SHARE else 2
        length = count / rate
        at_seconds = beginning + lots.random() * length
        victims = tuple(
            Victim(lots.choice(roles), lots.random(), "SIGSTOP" if lots.random() < stop_fraction else "SIGKILL")
            for _ in range(count)
        )
        if count > 1 and lots.random() < SUCCESSION_SHARE:
            room = min(SUCCESSION_SECONDS, beginning + length - at_seconds)
            for delay in (0.0, *sorted(lots.uniform(0, room) for _ in victims[1:])):
                yield Strike(at_seconds + delay, (replace(victims[0], lot=lots.random()),))
        else:
            yield Strike(at_seconds, victims)
        beginning += length


@dataclass(slots=True)
class Budget:
    """How often each process may still be killed: the broker gives up past `intensity` within `period_seconds`.

    `restart_intensity` and `restart_period_seconds` in docs/settings.md.
    """

    intensity: int
    period_seconds: float
    _kills: dict[str, list[float]] = field(default_factory=dict)

    @property
    def rate_per_process(self) -> float:
        """Kills per second that one process stands in the long run."""
        return max(0, self.intensity - _MARGIN) / self.period_seconds

    def allows(self, name: str, now: float) -> bool:
        """Whether one kill more of the process of that name is safe now."""
        recent = [at for at in self._kills.get(name, ()) if now - at <= self.period_seconds]
        self._kills[name] = recent
        return len(recent) + 1 <= self.intensity - _MARGIN

    def spend(self, name: str, now: float) -> None:
        """It was killed."""
        self._kills.setdefault(name, []).append(now)

    def advice(self, rate: float) -> str:
        """How to start a broker that stands this rate even if all kills fall on one process."""
        return f"--restart-intensity {min(1000, int(rate * self.period_seconds * 2) + 10)}"


def choose(victim: Victim, candidates: Mapping[str, str]) -> str | None:
    """The process that the lot falls on, of these by name, with their roles: one of the victim's role if there is any,
    so that the number of kills does not suffer when a role has one process and is drawn twice; None if there is none.
    """
    names = [name for name, role in candidates.items() if role == victim.role] or list(candidates)
    return names[int(victim.lot * len(names))] if names else None

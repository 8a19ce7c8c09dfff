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

from broker.restart import KILLS_FOR_A_DEATH

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
    """How often each process may still be struck: the broker gives up past `intensity` deaths within `period_seconds`.

    `restart_intensity` and `restart_period_seconds` in docs/settings.md. Of kills of a ready process it bears more
    (`broker.restart`); a process that was stopped, or never got ready, counts as one that fails.
    """

    intensity: int
    period_seconds: float
    _struck: dict[tuple[str, bool], list[float]] = field(default_factory=dict)

    def rate_per_process(self, stop_fraction: float = 0.0) -> float:
        """Kills per second that one process stands in the long run, if such a fraction of them are stops."""
        return min(
            self._most(counts_as_death) / self.period_seconds / share
            for counts_as_death, share in ((False, 1 - stop_fraction), (True, stop_fraction))
            if share > 0
        )

    def allows(self, name: str, now: float, counts_as_death: bool) -> bool:
        """Whether one strike more at the process of that name is safe now."""
        recent = [at for at in self._struck.get((name, counts_as_death), ()) if now - at <= self.period_seconds]
        self._struck[name, counts_as_death] = recent
        return len(recent) + 1 <= self._most(counts_as_death)

    def spend(self, name: str, now: float, counts_as_death: bool) -> None:
        """It was struck."""
        self._struck.setdefault((name, counts_as_death), []).append(now)

    def advice(self, rate: float, stop_fraction: float) -> str:
        """How to start a broker that stands this rate even if all kills fall on one process."""
        kills, deaths = rate * (1 - stop_fraction) * self.period_seconds, rate * stop_fraction * self.period_seconds
        return f"--restart-intensity {min(1000, int(max(kills / KILLS_FOR_A_DEATH, deaths)) * 2 + 10)}"

    def _most(self, counts_as_death: bool) -> int:
        return max(0, (self.intensity if counts_as_death else self.intensity * KILLS_FOR_A_DEATH) - _MARGIN)


def choose(victim: Victim, candidates: Mapping[str, str]) -> str | None:
    """The process that the lot falls on, of these by name, with their roles: one of the victim's role if there is any,
    so that the number of kills does not suffer when a role has one process and is drawn twice; None if there is none.
    """
    names = [name for name, role in candidates.items() if role == victim.role] or list(candidates)
    return names[int(victim.lot * len(names))] if names else None

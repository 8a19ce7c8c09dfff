"""When a dead child is replaced, and when the broker gives up: restart intensity and back-off. Pure.

After OTP's `supervisor.erl` (`add_restart/3`): a child that dies more than `intensity` times within `period_seconds`
will not get better by trying again. Within that bound the replacement comes at once if the child had been of use
for STABLE_SECONDS, else after a delay that doubles with each short life in a row. Whoever decides what a life was
worth may say that one that another process has cut short (SIGKILL) was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STABLE_SECONDS: Final = 0.5
FIRST_DELAY_SECONDS: Final = 0.05
LONGEST_DELAY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """At most `intensity` restarts of one child within `period_seconds`."""

    intensity: int
    period_seconds: float


@dataclass(frozen=True, slots=True)
class RestartHistory:
    """When a child died, as monotonic seconds, oldest first; and how many short lives it has led in a row."""

    deaths: tuple[float, ...] = ()
    short_lives: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about a death: restart after `delay_seconds`, or, if that is None, give up."""

    history: RestartHistory
    delay_seconds: float | None


def add_restart(policy: RestartPolicy, history: RestartHistory, now: float, useful_seconds: float) -> Decision:
    """Decide about a child that died at `now` after it had been ready for `useful_seconds` (0: never ready)."""
    deaths = (*(died for died in history.deaths if now - died <= policy.period_seconds), now)
    short_lives = history.short_lives + 1 if useful_seconds < STABLE_SECONDS else 0
    updated = RestartHistory(deaths, short_lives)
    if len(deaths) > policy.intensity:
        return Decision(updated, None)
    if short_lives <= 1:
        return Decision(updated, 0.0)
    # The exponent is bounded so that a long row of short lives cannot overflow a float.
    delay = FIRST_DELAY_SECONDS * 2.0 ** min(short_lives - 2, 30)
    return Decision(updated, min(delay, LONGEST_DELAY_SECONDS))

"""When a dead child is replaced, and when the broker gives up: restart intensity and back-off. Pure.

After OTP's `supervisor.erl` (`add_restart/3`): a child that dies more than `intensity` times within `period_seconds`
will not get better by trying again. Within that bound the replacement comes at once if the child had been of use
for STABLE_SECONDS, else after a delay that doubles with each short life in a row.

A child that was ready and that somebody else has killed is another matter: there is nothing wrong with it, and no
reason to wait. KILLS_FOR_A_DEATH times as many of those are borne.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

STABLE_SECONDS: Final = 0.5
FIRST_DELAY_SECONDS: Final = 0.05
LONGEST_DELAY_SECONDS: Final = 1.0
KILLS_FOR_A_DEATH: Final = 10


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """At most `intensity` restarts of one child within `period_seconds`."""

    intensity: int
    period_seconds: float


@dataclass(frozen=True, slots=True)
class RestartHistory:
    """When a child died, as monotonic seconds, oldest first; how many short lives it has led in a row; and when
    somebody else killed it.
    """

    deaths: tuple[float, ...] = ()
    short_lives: int = 0
    kills: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about a death: restart after `delay_seconds`, or, if that is None, give up."""

    history: RestartHistory
    delay_seconds: float | None


def add_restart(
    policy: RestartPolicy, history: RestartHistory, now: float, useful_seconds: float, killed: bool = False
) -> Decision:
    """Decide about a child that died at `now` after it had been ready for `useful_seconds` (0: never ready).

    `killed`: somebody else did it.
    """
    if killed and useful_seconds > 0:
        kills = (*(at for at in history.kills if now - at <= policy.period_seconds), now)
        too_many = len(kills) > policy.intensity * KILLS_FOR_A_DEATH
        return Decision(replace(history, kills=kills), None if too_many else 0.0)
    deaths = (*(died for died in history.deaths if now - died <= policy.period_seconds), now)
    short_lives = history.short_lives + 1 if useful_seconds < STABLE_SECONDS else 0
    updated = replace(history, deaths=deaths, short_lives=short_lives)
    if len(deaths) > policy.intensity:
        return Decision(updated, None)
    if short_lives <= 1:
        return Decision(updated, 0.0)
    # The exponent is bounded so that a long row of short lives cannot overflow a float.
    delay = FIRST_DELAY_SECONDS * 2.0 ** min(short_lives - 2, 30)
    return Decision(updated, min(delay, LONGEST_DELAY_SECONDS))

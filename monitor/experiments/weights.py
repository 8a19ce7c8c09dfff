"""What the kernel promises: the weight of each nice value, and the share of a CPU that follows from weights. Pure.

`sched_prio_to_weight` in the kernel's kernel/sched/core.c; sched(7), "The nice value". A share is of the time that the
parties got together: what others take from the same CPU is taken from all of them.
"""

from __future__ import annotations

from typing import Final

NICE_MIN: Final = -20
WEIGHTS: Final = (
    *(88761, 71755, 56483, 46273, 36291),
    *(29154, 23254, 18705, 14949, 11916),
    *(9548, 7620, 6100, 4904, 3906),
    *(3121, 2501, 1991, 1586, 1277),
    *(1024, 820, 655, 526, 423),
    *(335, 272, 215, 172, 137),
    *(110, 87, 70, 56, 45),
    *(36, 29, 23, 18, 15),
)
"""By nice value, from -20 to 19."""


def weight(nice: int) -> int:
    """The weight of a nice value, -20 to 19."""
    return WEIGHTS[nice - NICE_MIN]


def predicted_share(nice: int, rivals: int, targets: int = 1, rival_nice: int = 0) -> float:
    """The part that `targets` busy threads at `nice` get of what they and `rivals` busy threads get together."""
    own = targets * weight(nice)
    return own / (own + rivals * weight(rival_nice))

"""The loads that servers are compared under, by name. Pure.

All are of IRC's usual size: 64-byte texts. Saturation is a closed loop: a few senders in each room keep a window of
their messages in flight. Loads with a rate say so many messages a second, whatever comes back. At rest nobody says
anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from benchmarks.plan import Load

Kind = Literal["saturation", "rate", "rest"]

_QUICK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class NamedLoad:
    """`title` is for a person; `kind` decides what is measured and shown."""

    name: str
    title: str
    kind: Kind
    load: Load


def _of(name: str, title: str, kind: Kind, load: Load) -> tuple[str, NamedLoad]:
    return name, NamedLoad(name, title, kind, load)


LOADS: Final[dict[str, NamedLoad]] = dict(
    (
        _of("200-in-1", "200 clients in 1 room", "saturation", Load(200, 1, seconds=3)),
        _of("1000-in-1", "1,000 clients in 1 room", "saturation", Load(1_000, 1, seconds=3)),
        _of("200-in-20", "200 clients in 20 rooms", "saturation", Load(200, 20, seconds=3)),
        _of("2000-in-200", "2,000 clients in 200 rooms", "saturation", Load(2_000, 200, senders=2, seconds=3)),
        _of("slow-1000", "1,000 clients in 1 room, 10 messages/s", "rate", Load(1_000, 1, rate=10, seconds=5)),
        _of(
            "slow-rooms", "1,000 clients in 200 rooms, 200 messages/s", "rate",
            Load(1_000, 200, senders=2, rate=200, seconds=5),
        ),
        _of("rest-5000", "5,000 clients at rest in 100 rooms", "rest", Load(5_000, 100, seconds=5, warm_up_seconds=3)),
    )
)  # fmt: skip


def quick(load: NamedLoad) -> NamedLoad:
    """The same for a second only: enough to see that all is well, and about where it stands."""
    return replace(load, load=replace(load.load, seconds=_QUICK_SECONDS, warm_up_seconds=_QUICK_SECONDS / 2))

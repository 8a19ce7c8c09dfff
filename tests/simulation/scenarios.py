"""The kinds of schedules there are, by name, and how one is run: the same name and seed are the same schedule."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from broker import router_state
from tests.simulation.verdict import check
from tests.simulation.world import World
from workers import reader, router, worker, writer

TURNS = 400

SCENARIOS: dict[str, dict[str, Any]] = {
    "quiet": {"kill_rate": 0.0},
    "kills": {"kill_rate": 0.03},
    "many kills": {"kill_rate": 0.08},
    "small limits": {"kill_rate": 0.03},
    "paced": {"lines_per_second": 20.0},
    "not reading": {"behind_bytes": 300},
    "goodbye": {"goodbye": True},
}

LIMITS: dict[str, tuple[tuple[Any, str, float], ...]] = {
    "small limits": (
        (router_state, "BATCH_BYTES", 300),
        (router_state, "PATIENCE_BYTES", 600),
        (router, "_OUTBOX_BYTES_TO_WAIT_AT", 200),
        (router, "_RETAINED_BYTES_TO_WAIT_AT", 3000),
        (reader, "_IN_FLIGHT_LIMIT_BYTES", 300),
        (reader, "_LINES_PER_TURN", 2),
        (reader, "_NEWCOMER_SECONDS", 0.05),
        (reader, "_LATE_EVENTS", 2),
        (reader, "_LATE_EVENTS_BESIDE_TALK", 1),
        (worker, "_UNTOLD_BATCHES", 2),
    ),
    "not reading": ((writer, "_PATIENCE_SECONDS", 0.05),),
}
"""So that a few clients get, within a second or two, to where the broker makes some wait for others, or ends them."""


@contextmanager
def limits(scenario: str) -> Iterator[None]:
    """The limits that a scenario runs with."""
    changed = LIMITS.get(scenario, ())
    before = [getattr(module, name) for module, name, _ in changed]
    for module, name, value in changed:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(changed, before, strict=True):
            setattr(module, name, value)


def run(scenario: str, seed: int, turns: int = TURNS, **more: Any) -> World:
    """Run one schedule and check it; AssertionError, after saying how to repeat it, if somebody could notice a kill."""
    with limits(scenario):
        world = World(seed, **{**SCENARIOS[scenario], **more})
        try:
            world.run(turns)
            check(world)
        except BaseException:
            print(f"to repeat it: python -m tests.simulation '{scenario}' {seed}" + (f" # with {more}" if more else ""))
            raise
    return world

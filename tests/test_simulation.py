"""Thousands of schedules, each with kills at steps of its own: nobody may be able to tell them from a quiet one."""

from __future__ import annotations

import pytest

from tests.simulation.verdict import check
from tests.simulation.world import World


def run(seed: int, **options: float) -> World:
    world = World(seed, **options)  # type: ignore[arg-type]
    try:
        world.run(400)
        check(world)
    except BaseException:
        print(f"the seed is {seed}, with {options}")
        raise
    return world


def test_without_any_kill() -> None:
    for seed in range(20):
        run(seed, kill_rate=0.0)


@pytest.mark.parametrize("block", range(4))
def test_short(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        run(seed)

"""Run schedules by hand: `python -m tests.simulation SCENARIO SEED [SEED]`, from the first seed up to the last one."""

from __future__ import annotations

import sys
import time

from tests.simulation.scenarios import SCENARIOS, run


def main() -> None:
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in SCENARIOS:
        sys.exit(f"{__doc__}\nThe scenarios are: {', '.join(SCENARIOS)}.")
    scenario, first = sys.argv[1], int(sys.argv[2])
    last = int(sys.argv[3]) if len(sys.argv) == 4 else first
    started, kills, turns = time.monotonic(), 0, 0
    for seed in range(first, last + 1):
        world = run(scenario, seed)
        kills, turns = kills + world.kills, turns + world.turns
    seconds = time.monotonic() - started
    print(f"{scenario}: {last - first + 1} schedules, {kills} kills, {turns} turns, {seconds:.1f} s: all exact")


if __name__ == "__main__":
    main()

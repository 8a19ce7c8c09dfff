"""The words for STAT's letters and flags. Pure.

After ps(1), "PROCESS STATE CODES", and Documentation/filesystems/proc.rst; shown by the dashboard's details and taught
in docs/processes.md.
"""

from __future__ import annotations

from typing import Final

STATES: Final[dict[str, str]] = {
    "R": "running, or ready to run and waiting for a CPU",
    "S": "sleeping until something happens",
    "D": "in uninterruptible sleep, usually for a disk; signals have to wait, most often KILL too",
    "T": "stopped by a signal; CONT lets it go on",
    "t": "stopped by a debugger",
    "Z": "zombie: dead, until its parent asks how it ended",
    "X": "dead; only to be seen in passing",
    "I": "idle thread of the kernel",
    "P": "parked thread of the kernel",
}

FLAGS: Final[dict[str, str]] = {
    "<": "raised priority: nice below 0",
    "N": "lowered priority: nice above 0",
    "L": "has memory locked in RAM",
    "s": "leads its session",
    "l": "has several threads",
    "+": "in the foreground of its terminal",
}

UNHEARD_OF: Final = "a state that this legend does not know"


def explain(stat: str) -> list[tuple[str, str]]:
    """Each character of a STAT with its meaning, in their order; empty for an empty STAT (no process)."""
    if not stat:
        return []
    return [(stat[0], STATES.get(stat[0], UNHEARD_OF)), *((flag, FLAGS.get(flag, UNHEARD_OF)) for flag in stat[1:])]

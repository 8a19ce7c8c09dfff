"""CPU time of processes, one by one, and what they used between two looks. Reads /proc.

What counts is `utime + stime` of proc_pid_stat(5), in hundredths of a second; the kernel scales the two so that their
sum is exact (kernel/sched/cputime.c, cputime_adjust). What a process used between the first look and an end ahead of
the second is not seen: processes that end while they are measured are not what one wants to measure.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.errors import LoadError
from monitor import procfs
from monitor.process_tree import name_of

_LOOK_SECONDS: Final = 0.002
_SETTLE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class ProcessCPU:
    """CPU time of one process: all of it in a look, and in what is made of two looks the difference."""

    pid: int
    name: str
    seconds: float


Look = Mapping[int, ProcessCPU]
"""By PID."""


def tree(root_pid: int) -> list[int]:
    """The PIDs of a process and of all its descendants, parents first."""
    return [root_pid, *procfs.descendants(root_pid, procfs.children_by_parent(procfs.scan().values()))]


def look(names: Mapping[int, str | None]) -> Look:
    """Those of these processes that there are, under the given names or else their own; LoadError if none is left."""
    found = {}
    for pid, name in names.items():
        stat = procfs.process_stat(pid)
        if stat is not None:
            name = name or name_of(procfs.cmdline(pid) or [], stat.comm)
            found[pid] = ProcessCPU(pid, name, stat.cpu_ticks / procfs.TICKS_PER_SECOND)
    if not found:
        raise LoadError(f"there is no process {next(iter(names), 0)} whose CPU time could be measured")
    return found


def settled_seconds(pids: Sequence[int]) -> float:
    """CPU seconds of these processes together, to the nanosecond, at a moment when none of them does anything.

    Of the threads that there are: the sum falls when one ends. LoadError if that moment does not come.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    before = -1
    while (now := sum(stat.on_cpu_ns for stat in map(procfs.total_schedstat, pids) if stat is not None)) != before:
        if time.monotonic() > deadline:
            raise LoadError(f"the server did not come to rest within {_SETTLE_SECONDS:g} s")
        before = now
        time.sleep(_LOOK_SECONDS)
    return now / 1e9


def slices(pids: Iterable[int]) -> int:
    """How often the scheduler has put a thread of these processes on a CPU; at rest, how often they woke up."""
    return sum(stat.slices for stat in map(procfs.total_schedstat, pids) if stat is not None)


def used(before: Look, after: Look) -> list[ProcessCPU]:
    """What those that are in the second look used since the first."""
    return [
        ProcessCPU(pid, process.name, process.seconds - (before[pid].seconds if pid in before else 0.0))
        for pid, process in after.items()
    ]

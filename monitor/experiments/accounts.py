"""The kernel's accounts of threads and CPUs: what a set of processes used between two looks, and who else was there.

Runs in the process of `broker experiment`. Reads /proc; changes nothing. Time on a CPU and time spent ready and waiting
for one are nanoseconds of `/proc/PID/task/TID/schedstat`, which the kernel brings up to date at each tick for a thread
that runs: 4 ms of error at most, at both ends.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from monitor import procfs
from monitor.process_tree import name_of

LOOK_EVERY_SECONDS: Final = 0.2
"""So often somebody who runs on the watched CPU is looked for."""
_NANOSECONDS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Accounts:
    """Accounts of threads; times in seconds. Of a moment: since each thread began. Of a difference: in between."""

    on_cpu: float = 0.0
    waiting: float = 0.0
    slices: int = 0
    voluntary_switches: int = 0
    involuntary_switches: int = 0

    def __sub__(self, before: Accounts) -> Accounts:
        return Accounts(
            self.on_cpu - before.on_cpu,
            self.waiting - before.waiting,
            self.slices - before.slices,
            self.voluntary_switches - before.voluntary_switches,
            self.involuntary_switches - before.involuntary_switches,
        )

    def __add__(self, other: Accounts) -> Accounts:
        return self - (Accounts() - other)


Look = Mapping[tuple[int, int], Accounts]
"""By PID and thread id."""


def look(pids: Iterable[int]) -> Look:
    """The accounts of all threads of these processes now; those that are gone are missing."""
    found = {}
    for pid in pids:
        for tid, thread in procfs.schedstats(pid).items():
            status = procfs.parse_status(procfs.read(f"/proc/{pid}/task/{tid}/status") or b"")
            found[pid, tid] = Accounts(
                thread.on_cpu_ns / _NANOSECONDS,
                thread.waiting_ns / _NANOSECONDS,
                thread.slices,
                int(status.get("voluntary_ctxt_switches", 0)),
                int(status.get("nonvoluntary_ctxt_switches", 0)),
            )
    return found


def used(before: Look, after: Look) -> Accounts:
    """What the threads that are in the second look used since the first; one that is new counts from its beginning."""
    total = Accounts()
    for thread, accounts in after.items():
        total += accounts - before.get(thread, Accounts())
    return total


@dataclass(frozen=True, slots=True)
class CPUTimes:
    """One line of `/proc/stat`, in seconds since boot: what the CPU did not give to processes; proc(5)."""

    idle: float
    interrupts: float
    stolen: float

    def __sub__(self, before: CPUTimes) -> CPUTimes:
        return CPUTimes(
            self.idle - before.idle, self.interrupts - before.interrupts, max(self.stolen - before.stolen, 0.0)
        )


def parse_cpu_times(stat: bytes, cpu: int) -> CPUTimes | None:
    """The times of one CPU (idle and iowait; irq and softirq; steal); None if there is no such CPU."""
    for line in stat.split(b"\n"):
        words = line.split()
        if words and words[0] == b"cpu%d" % cpu:
            ticks = [int(word) / procfs.TICKS_PER_SECOND for word in words[1:]]
            return CPUTimes(ticks[3] + ticks[4], ticks[5] + ticks[6], ticks[7] if len(ticks) > 7 else 0.0)
    return None


@dataclass(frozen=True, slots=True)
class Interference:
    """Who else used the watched CPU: shares of the elapsed time.

    `others` is all that neither the parties nor idleness account for, exactly; `stolen` is the part of it that the
    hypervisor kept. `names` tells who it may have been, by what was seen there; their figures are upper bounds, since
    a process that moves between CPUs is only seen now and then.
    """

    idle: float
    others: float
    stolen: float
    names: Mapping[str, float] = field(default_factory=dict)


class CPUWatch:
    """Watches one CPU from `begin` to `end`; `poll` now and then in between."""

    def __init__(self, cpu: int, parties: Iterable[int]) -> None:
        self.cpu = cpu
        self._parties = frozenset(parties)
        self._began = 0.0
        self._times: CPUTimes | None = None
        self._ticks: dict[int, int] = {}
        self._seen: dict[int, str] = {}
        self._used: defaultdict[int, float] = defaultdict(float)
        self._next_look = 0.0

    def begin(self) -> None:
        """Count from here."""
        self._look()
        self._used.clear()
        self._times = parse_cpu_times(procfs.read("/proc/stat") or b"", self.cpu)
        self._began = time.monotonic()

    def poll(self) -> None:
        """Look who is there, if it is time to."""
        if time.monotonic() >= self._next_look:
            self._look()

    def end(self, parties: Accounts) -> Interference:
        """The outcome, given what the parties used meanwhile."""
        elapsed = time.monotonic() - self._began
        times = parse_cpu_times(procfs.read("/proc/stat") or b"", self.cpu)
        self._look()
        passed = times - self._times if times and self._times else CPUTimes(0.0, 0.0, 0.0)
        names: defaultdict[str, float] = defaultdict(float)
        for pid, seconds in self._used.items():
            names[self._seen[pid]] += seconds / elapsed
        rest = 1.0 - (parties.on_cpu + passed.idle) / elapsed
        return Interference(passed.idle / elapsed, max(rest, 0.0), passed.stolen / elapsed, dict(names))

    def _look(self) -> None:
        self._next_look = time.monotonic() + LOOK_EVERY_SECONDS
        for pid, process in procfs.scan().items():
            if pid in self._parties:
                continue
            ticks = process.cpu_ticks - self._ticks.get(pid, process.cpu_ticks)
            self._ticks[pid] = process.cpu_ticks
            if ticks and process.processor == self.cpu:
                self._used[pid] += ticks / procfs.TICKS_PER_SECOND
                if pid not in self._seen:
                    self._seen[pid] = name_of(procfs.cmdline(pid) or [], process.comm)


def pss_bytes(pid: int) -> int:
    """Its proportional set size; 0 if it has vanished."""
    return procfs.pss_bytes(pid) or 0

"""Where processes may run and with which priority: sets both for every thread, and tells which CPUs there are.

Runs in the process of `broker experiment`. sched_setaffinity(2) and setpriority(2) are per thread, so each is repeated
until a pass over `/proc/PID/task` finds nothing new.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from broker.errors import BrokerError, UsageError
from monitor import procfs

_PASSES: Final = 20


class ExperimentError(BrokerError):
    """An experiment, or one trial of it, cannot be carried out; says why."""


@dataclass(frozen=True, slots=True)
class CPUs:
    """The CPU that the parties share, and those for everything else; without any other, everything is on the one."""

    measured: int
    others: frozenset[int]

    @property
    def is_shared(self) -> bool:
        """Whether the load has to run on the measured CPU."""
        return self.others == {self.measured}


def choose_cpus(wanted: int | None) -> CPUs:
    """The wanted CPU, else the last one that this process may use: the first ones tend to serve interrupts.

    Raises UsageError for a CPU that this process may not use.
    """
    allowed = os.sched_getaffinity(0)
    if wanted is not None and wanted not in allowed:
        raise UsageError(f"--cpu {wanted}: this process may use {', '.join(map(str, sorted(allowed)))}")
    measured = max(allowed) if wanted is None else wanted
    return CPUs(measured, frozenset(allowed - {measured}) or frozenset({measured}))


def pin(pid: int, cpus: Iterable[int]) -> None:
    """Let every thread of a process run on these CPUs only; ExperimentError if that is not permitted."""
    wanted = set(cpus)
    for _ in range(_PASSES):
        wrong = [tid for tid in procfs.thread_ids(pid) if _affinity(tid) not in (wanted, None)]
        if not wrong:
            return
        for tid in wrong:
            try:
                os.sched_setaffinity(tid, wanted)
            except ProcessLookupError:
                continue
            except OSError as error:
                raise ExperimentError(f"PID {pid} cannot be pinned to CPU {sorted(wanted)}: {error.strerror}") from None


def set_nice(pid: int, nice: int) -> None:
    """Give every thread of a process this nice value; ExperimentError if that is not permitted."""
    for _ in range(_PASSES):
        wrong = [tid for tid, thread in procfs.thread_stats(pid).items() if thread.nice != nice]
        if not wrong:
            return
        for tid in wrong:
            with contextlib.suppress(ProcessLookupError):
                try:
                    os.setpriority(os.PRIO_PROCESS, tid, nice)
                except PermissionError as error:
                    raise ExperimentError(f"PID {pid} cannot have nice {nice}: {error.strerror}") from None


def _affinity(tid: int) -> set[int] | None:
    try:
        return os.sched_getaffinity(tid)
    except OSError:
        return None
